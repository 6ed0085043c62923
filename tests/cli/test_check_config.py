"""`check-config FILE`: the exit code, and the error of a bad file."""

from pathlib import Path

import pytest

from tests.support.commands import Commands, Done


def test_good(commands: Commands, tmp_path: Path) -> None:
    """For a valid file the command says so; exit code 0."""
    path = tmp_path / "c.yml"
    path.write_text("lookup: {timeout: 5s}\n")
    assert commands.run("check-config", path) == Done(0, f"{path}: valid\n", "")


def test_bad(commands: Commands, tmp_path: Path) -> None:
    """An error is one line on standard error: file, line, key, value, allowed values."""
    path = tmp_path / "c.yml"
    path.write_text("lookup:\n  timeout: soon\n")
    done = commands.run("check-config", path)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith(f"postfix-mta-sts: {path}:2: lookup.timeout: found 'soon'; allowed")


@pytest.mark.parametrize(
    "command", [["check-config"], ["serve", "--config"], ["query", "a.test", "--config"]]
)
def test_missing_file(commands: Commands, tmp_path: Path, command: list[str]) -> None:
    """Every command that reads a configuration names a missing file."""
    path = tmp_path / "none.yml"
    done = commands.run(*command, path)
    expected = f"postfix-mta-sts: {path}: cannot be read: No such file or directory\n"
    assert done == Done(2, "", expected)
