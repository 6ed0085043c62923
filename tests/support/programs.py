"""Programs of Debian that check our files; a test is skipped if its program is not installed.

In CI, which installs all of them, a missing program is a failure.
"""

import os
import shutil

import pytest


def program(name: str) -> str:
    """The path of a program; skips or fails the test if there is none."""
    path = shutil.which(name)
    if path is None and os.environ.get("CI"):
        pytest.fail(f"{name} is not installed")
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path
