"""Whether a program of the configuration can be run on this machine."""

import os
from pathlib import Path

import pytest

from postfix_mta_sts.config.programs import program_problem
from tests.support.scripts import script


def test_a_program(tmp_path: Path) -> None:
    """A file that this user may execute has no problem, whatever its name."""
    assert not program_problem(script(tmp_path / "a 'b", "true"))


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("/no/such", "/no/such: there is no file; install it, or write another path"),
        ("/etc/passwd/x", "/etc/passwd/x: Not a directory; install it, or write another path"),
        (f"/{'x' * 300}", "File name too long"),
        ("/tmp", "/tmp is not a program; write another path"),  # noqa: S108 (a folder)
        ("/etc/passwd", f"user {os.geteuid()} may not execute /etc/passwd; chmod +x it"),
    ],
)
def test_not_a_program(path: str, problem: str) -> None:
    """Each reason is one sentence, and no error: a start must not fail because of it."""
    assert problem in program_problem(path)


def test_a_folder_of_another_user(tmp_path: Path) -> None:
    """Where this user may not look, nothing is raised either."""
    path = script(tmp_path / "program", "true")
    tmp_path.chmod(0)
    try:
        assert (program_problem(path) == "") is (os.geteuid() == 0)
    finally:
        tmp_path.chmod(0o700)
