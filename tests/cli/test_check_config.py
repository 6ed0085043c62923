"""`check-config [FILE]`: the exit code, the errors of a bad file, and the settings in force."""

from pathlib import Path

import pytest

from postfix_mta_sts.cli import check_config
from postfix_mta_sts.daemon import preflight
from tests.support.commands import Commands, Done

QUIET = "listen: [{socketmap: '127.0.0.1:0'}]\n"


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default folders are those of the test."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    monkeypatch.setattr(preflight, "system_problem", lambda _: "")  # wherever the tests run


def test_good(commands: Commands, tmp_path: Path) -> None:
    """For a valid file the command says so; exit code 0."""
    path = tmp_path / "c.yml"
    path.write_text(f"{QUIET}lookup: {{timeout: 5s}}\n")
    for words in ([path], ["--config", path]):
        assert commands.run("check-config", *words) == Done(0, f"{path}: valid\n", "")


def test_bad(commands: Commands, tmp_path: Path) -> None:
    """An error is one line on standard error: file, line, key, value, allowed values."""
    path = tmp_path / "c.yml"
    path.write_text("lookup:\n  timeout: soon\n")
    done = commands.run("check-config", path)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith(f"postfix-mta-sts: {path}:2: lookup.timeout: found 'soon'; allowed")


def test_all_errors(commands: Commands, tmp_path: Path) -> None:
    """Every error of the file is a line."""
    path = tmp_path / "c.yml"
    path.write_text("lookup:\n  timeout: soon\nlog:\n  level: loud\n")
    done = commands.run("check-config", path)
    places = [line.split(": ")[1:3] for line in done.err.splitlines()]
    assert places == [[f"{path}:2", "lookup.timeout"], [f"{path}:4", "log.level"]]


def test_machine(commands: Commands, tmp_path: Path) -> None:
    """What a start would refuse is refused, with the line of its key (D9); warnings are not."""
    path = tmp_path / "c.yml"
    path.write_text(f"{QUIET}cache:\n  path: {tmp_path}\ncontrol: {{group: nosuch}}\n")
    done = commands.run("check-config", path)
    assert (done.code, done.out) == (2, "")
    warning, error = done.err.splitlines()
    assert warning.startswith(f"postfix-mta-sts: {path}:4: warning: control.group: there is no gr")
    assert error.startswith(f"postfix-mta-sts: {path}:3: cache.path: {tmp_path} is a folder")


def test_all_at_once(commands: Commands, tmp_path: Path) -> None:
    """Double keys, unknown ones, wrong values and what the machine lacks are listed together."""
    path = tmp_path / "c.yml"
    path.write_text(
        f"{QUIET}cache:\n  path: {tmp_path}\n  path: /c\n  memory: 1\n"
        "htps: {}\ncontrol: {group: nosuch, mode: rw}\nlog: {level: x}\nlog: {level: y}\n"
    )
    done = commands.run("check-config", path)
    assert (done.code, done.out) == (2, "")
    places = [line.removeprefix(f"postfix-mta-sts: {path}:") for line in done.err.splitlines()]
    starts = ["4: duplicate", "5: cache.memory", "6: htps", "7: control.mode", "8: log.level"]
    starts += ["9: duplicate", "7: warning: control.group", "3: cache.path"]
    assert len(places) == len(starts)
    assert all(map(str.startswith, places, starts)), places


def test_default_file(commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without FILE the default file is checked, or the defaults if there is none."""
    path = tmp_path / "default.yml"
    monkeypatch.setattr(check_config, "DEFAULT_CONFIG", path)
    assert "built-in defaults: valid" in commands.run("check-config").out
    path.write_text("log: 1")
    assert commands.run("check-config").err.startswith(f"postfix-mta-sts: {path}:1: log: found 1")


def test_show(commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--show` prints each setting in force, and its source: line, variable or default."""
    monkeypatch.setenv("POSTFIX_MTA_STS__HTTPS__TIMEOUT", "9s")
    path = tmp_path / "c.yml"
    path.write_text(f"{QUIET}log:\n  level: debug\n")
    done = commands.run("check-config", path, "--show")
    rows = {line.split()[0]: line.split()[1:] for line in done.lines}
    assert done.code == 0
    assert rows["listen[0].socketmap"] == ["127.0.0.1:0", f"{path}:1"]
    assert rows["log.level"] == ["debug", f"{path}:3"]
    assert rows["https.timeout"] == ["9s", "POSTFIX_MTA_STS__HTTPS__TIMEOUT"]
    assert rows["dns.timeout"] == ["5s", "default"]
    assert rows["cache.path"] == [str(tmp_path / "policies.db"), "default"]
    assert done.lines[-1] == f"# {path}: valid"


def test_show_without_the_password(
    commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--show` prints the URL of the shared store without the password, also that of a variable."""
    key = tmp_path / "key"
    key.write_text("ab" * 32)
    key.chmod(0o600)
    path = tmp_path / "c.yml"
    path.write_text(f"{QUIET}fleet: {{url: 'redis://u:hunter2@127.0.0.1', key_file: {key}}}\n")
    done = commands.run("check-config", path, "--show")
    assert (done.code, done.err) == (0, "")
    rows = {line.split()[0]: line.split()[1:] for line in done.lines}
    assert rows["fleet.url"] == ["redis://u:...@127.0.0.1", f"{path}:2"]
    assert rows["fleet.key_file"] == [str(key), f"{path}:2"]
    variable = "POSTFIX_MTA_STS__FLEET__URL"
    monkeypatch.setenv(variable, "postgresql://u:hunter2@localhost/d")
    other = commands.run("check-config", path, "--show")
    assert f"postgresql://u:...@localhost/d  {variable}" in other.out
    for each in (done, other):
        assert "hunter2" not in each.out
        assert "abab" not in each.out.replace(str(tmp_path), "")


def test_a_key_that_cannot_be_used(commands: Commands, tmp_path: Path) -> None:
    """A key file that a start would refuse is an error with the line of its key."""
    path = tmp_path / "c.yml"
    path.write_text(
        f"{QUIET}fleet:\n  url: redis://u:hunter2@127.0.0.1\n  key_file: {tmp_path}/none\n"
    )
    done = commands.run("check-config", path)
    expected = (
        f"{path}:4: fleet.key_file: {tmp_path}/none: No such file or directory;"
        " copy it from another relay, or make the first: openssl rand -hex 32"
    )
    assert done == Done(2, "", f"postfix-mta-sts: {expected}\n")


@pytest.mark.parametrize(
    ("command", "code"),
    [(["check-config"], 2), (["serve", "--config"], 2), (["query", "a.test", "--config"], 3)],
    ids=["check-config", "serve", "query"],
)
def test_missing_file(commands: Commands, tmp_path: Path, command: list[str], code: int) -> None:
    """Every command that reads a configuration names a missing file."""
    path = tmp_path / "none.yml"
    done = commands.run(*command, path)
    expected = f"postfix-mta-sts: {path}: cannot be read: No such file or directory\n"
    assert done == Done(code, "", expected)
