"""Skip a test that this machine cannot run; with CI set, fail it."""

import os
from typing import NoReturn

import pytest


def cannot(why: str) -> NoReturn:
    """Skip or fail the running test for this reason."""
    if os.environ.get("CI"):
        pytest.fail(f"this must run in CI, but: {why}")
    pytest.skip(why)
