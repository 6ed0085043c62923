"""What a machine lacks is the reason of a skip; with CI set it is a failure."""

import os
from typing import NoReturn

import pytest


def cannot(why: str) -> NoReturn:
    """This test cannot run here."""
    if os.environ.get("CI"):
        pytest.fail(f"this must run in CI, but: {why}")
    pytest.skip(why)
