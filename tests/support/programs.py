"""Programs of Debian's that judge what we ship; where there are none, their tests are skipped.

Border: in CI, which installs them all, a program that is missing is a failure.
"""

import os
import shutil

import pytest


def program(name: str) -> str:
    """The path of a program."""
    path = shutil.which(name)
    if path is None and os.environ.get("CI"):
        pytest.fail(f"{name} is not installed")
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path
