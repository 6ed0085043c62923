"""The variables of the unit, as systemctl prints them, and in files."""

import glob
import os
from pathlib import Path
from threading import Event
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.admin.doctor import unit_variables
from postfix_mta_sts.admin.doctor.report import Unseen
from postfix_mta_sts.admin.doctor.snapshot import ConfigProblem
from postfix_mta_sts.admin.doctor.unit_variables import (
    UnitVariables,
    parse_file,
    read_unit_variables,
    read_variables,
)
from tests.support.scripts import script

LEVEL: Final = "POSTFIX_MTA_STS__LOG__LEVEL"
FOLDER: Final = "POSTFIX_MTA_STS__CACHE__PATH"


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no error."""
    monkeypatch.setattr(unit_variables, "TIMEOUT", 60.0)
    monkeypatch.setattr(unit_variables, "FILES_TIMEOUT", 60.0)


class TestEnvironment:
    """`Environment=`."""

    @pytest.mark.parametrize(
        ("printed", "variables"),
        [
            (f"{LEVEL}=debug HOME=/root", {LEVEL: "debug"}),
            (f'"{FOLDER}=/a b/p.db" {LEVEL}=info', {FOLDER: "/a b/p.db", LEVEL: "info"}),
            (rf'"{FOLDER}=/\"a\"\$e\`f\\g\nb"', {FOLDER: '/"a"$e`f\\g\nb'}),
            (f"{LEVEL}= {FOLDER}", {LEVEL: ""}),
            ("", {}),
        ],
    )
    def test_printed(self, printed: str, variables: dict[str, str]) -> None:
        """Words with space, and with what a shell would read, have quotes; others do not count."""
        assert read_variables(f"Environment={printed}\n") == UnitVariables(variables)

    @pytest.mark.parametrize(
        ("unset", "variables"),
        [
            (LEVEL, {FOLDER: "/a b"}),
            (f"{LEVEL}=debug", {FOLDER: "/a b"}),
            (f'{LEVEL}=info "{FOLDER}=/a b"', {LEVEL: "debug"}),
            (f"X {LEVEL}= {FOLDER}", {LEVEL: "debug"}),
        ],
    )
    def test_unset(self, tmp_path: Path, unset: str, variables: dict[str, str]) -> None:
        """What `UnsetEnvironment=` names is taken away last, also what a file has set."""
        (tmp_path / "a").write_text(f"{LEVEL}=debug\n")
        found = read_variables(
            f'UnsetEnvironment={unset}\nEnvironment="{FOLDER}=/a b"\n'
            f"EnvironmentFiles={tmp_path}/a (ignore_errors=no)\n"
        )
        assert found == UnitVariables(variables)


class TestFiles:
    """`EnvironmentFile=`."""

    def test_later_ones_win(self, tmp_path: Path) -> None:
        """A file wins against `Environment=`, and the last file against the first."""
        for name, level in (("a", "info"), ("b", "debug")):
            (tmp_path / name).write_text(f"{LEVEL}={level}\n")
        found = read_variables(
            f"Environment={LEVEL}=warning {FOLDER}=/p\n"
            f"EnvironmentFiles={tmp_path}/a (ignore_errors=no)\n"
            f"EnvironmentFiles={tmp_path}/b (ignore_errors=yes)\n"
        )
        assert found == UnitVariables({LEVEL: "debug", FOLDER: "/p"})

    def test_a_pattern(self, tmp_path: Path) -> None:
        """All files that it names are read, in their order."""
        for name, level in (("1.env", "info"), ("2.env", "debug"), ("other", "error")):
            (tmp_path / name).write_text(f"{LEVEL}={level}\n")
        found = read_variables(f"EnvironmentFiles={tmp_path}/*.env (ignore_errors=no)\n")
        assert found.variables == {LEVEL: "debug"}

    def test_missing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a file that must be there systemd does not start the daemon."""
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        (tmp_path / "file").touch()
        for name, error in (
            ("none", "No such file or directory"),
            ("*.none", "No such file or directory"),
            ("file/none", "Not a directory"),
        ):
            line = f"EnvironmentFiles={tmp_path}/{name} (ignore_errors={{}})\n"
            assert read_variables(line.format("yes")) == UnitVariables()
            reason = f"{tmp_path}/{name}: {error}; EnvironmentFile= of the unit names it"
            problem = ConfigProblem("", reason, is_warning=False)
            assert read_variables(line.format("no")) == UnitVariables(problems=(problem,))

    def test_a_pattern_of_a_plain_user(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A folder that this user may not list may have files of the pattern."""
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        line = f"EnvironmentFiles={tmp_path}/*.none (ignore_errors=no)\n"
        unseen = Unseen(f"the variables in {tmp_path}/*.none", "No such file or directory")
        assert read_variables(line) == UnitVariables(unseen=(unseen,))

    def test_denied(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What this user may not read is named, also if it need not be there."""
        (tmp_path / "a").touch()

        def deny(_: Path, patience: float) -> str:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("postfix_mta_sts.config.config_file.read_text", deny)
        (unseen,) = read_variables(f"EnvironmentFiles={tmp_path}/a (ignore_errors=yes)\n").unseen
        assert unseen.reason == "Permission denied; run doctor as root"

    def test_a_pipe(self, tmp_path: Path) -> None:
        """A FIFO in its place holds nothing up."""
        os.mkfifo(tmp_path / "a")
        found = read_variables(f"EnvironmentFiles={tmp_path}/a (ignore_errors=no)\n")
        (unseen,) = found.unseen
        assert unseen.reason.startswith("it is a pipe")


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("a=1\nb = 2 \n", {"a": "1", "b": "2"}),
        ("# a=1\n; b=2\n\n\tc=3", {"c": "3"}),
        ('a=\'x y\'\nb="x \\"y\\" \\z"\n', {"a": "x y", "b": 'x "y" \\z'}),
        ('a=[{socketmap: "127.0.0.1:1"}]\n', {"a": '[{socketmap: "127.0.0.1:1"}]'}),
        ("a='one\ntwo=2'\nb=3\n", {"a": "one\ntwo=2", "b": "3"}),
        ("a=one\\\ntwo\nb=\\$3\n", {"a": "onetwo", "b": "$3"}),
        ("a='1' \"2\" 3\n", {"a": "123"}),
        ('a=\'1\' "2" 3 "4"\n', {"a": '123 "4"'}),
        ('a=\nb="unended\nc=3\n', {"a": "", "b": "unended\nc=3\n"}),
        ("export a=1\nnonsense\n", {"export a": "1"}),
        ("a=1 # no comment\r\n", {"a": "1 # no comment"}),
    ],
)
def test_a_file(text: str, variables: dict[str, str]) -> None:
    """Lines, quotes, comments and backslashes, as systemd 252 and 257 were seen to read them."""
    assert parse_file(text) == variables


def test_a_long_line() -> None:
    """A line of spaces takes no longer than it is long: the test itself has a limit."""
    assert parse_file(f"a{' ' * 200_000}\nb{' ' * 50_000}=1{' ' * 50_000}\n") == {"b": "1"}


@given(st.text("ab='\"\\\n# ;$\x00", max_size=60))
def test_any_file(text: str) -> None:
    """It raises nothing."""
    for name in parse_file(text):
        assert name
        assert "\n" not in name


@pytest.mark.parametrize(
    ("words", "config"),
    [
        ("serve", None),
        ("serve --config /etc/a.yml", Path("/etc/a.yml")),
        ("serve --config=a.yml --x", Path("/a.yml")),
        ("serve ; ignore_errors=no --config /b", None),
    ],
)
def test_configuration(words: str, config: Path | None) -> None:
    """The file that the unit names; systemd starts the daemon in the root folder."""
    text = f"ExecStart={{ path=/usr/bin/postfix-mta-sts ; argv[]=postfix-mta-sts {words} ; pid=0 }}"
    assert read_variables(text).config == config


@pytest.mark.parametrize(
    ("words", "config"),
    [
        ("serve --config ${F}", Path("/etc/a.yml")),
        ("serve $OPTS", Path("/etc/a.yml")),
        ("serve --config ${X}/a.yml", None),
    ],
)
def test_configuration_in_a_variable(words: str, config: Path | None) -> None:
    """A variable of the unit is replaced; a file that only systemd knows is named as not seen."""
    text = (
        f'Environment=F=/etc/a.yml "OPTS=--config /etc/a.yml"\nExecStart={{ argv[]=p {words} ; }}'
    )
    found = read_variables(text)
    assert found.config == config
    assert bool(found.unseen) == (config is None)


def serve(words: str, folder: str = "") -> UnitVariables:
    """What is found of a unit that starts the daemon with these words."""
    return read_variables(
        f"WorkingDirectory={folder}\nExecStart={{ argv[]=p serve {words} ; ignore_errors=no ; }}\n"
    )


class TestWorkingDirectory:
    """Where systemd starts the daemon."""

    def test_a_relative_path(self) -> None:
        """It begins there; an absolute one does not."""
        assert serve("--config c.yml", "/etc/mta").config == Path("/etc/mta/c.yml")
        assert serve("--config /c.yml", "/etc/mta").config == Path("/c.yml")
        assert serve("--config c.yml").config == Path("/c.yml")

    def test_one_that_need_not_be_there(self, tmp_path: Path) -> None:
        """Without it the daemon starts in the root folder."""
        assert serve("--config c.yml", f"!{tmp_path}").config == tmp_path / "c.yml"
        assert serve("--config c.yml", f"!{tmp_path}/none").config == Path("/c.yml")

    def test_home(self) -> None:
        """That of the daemon's user is not looked for."""
        found = serve("--config c.yml", "~")
        reason = "c.yml is in the home folder of the daemon's user; use --config"
        assert found.config is None
        assert found.unseen == (Unseen("the file that the unit names", reason),)
        assert serve("--config /c.yml", "~").config == Path("/c.yml")


class TestPathWithSpaces:
    """Systemctl prints the arguments without quotes."""

    def test_it_is_there(self, tmp_path: Path) -> None:
        """The shortest path that is a file counts, also if a folder has a shorter name."""
        path = tmp_path / "m ta  x" / "c.yml"
        path.parent.mkdir()
        (tmp_path / "m").mkdir()
        path.touch()
        for words in (f"--config {path}", f"--config={path} --workers 2"):
            assert serve(words) == UnitVariables(config=path)
        assert serve("--config m ta  x/c.yml", str(tmp_path)).config == path

    def test_it_is_missing(self, tmp_path: Path) -> None:
        """Whether a path ends at a space cannot be said then; at an option it does."""
        found = serve(f"--config {tmp_path}/m ta/c.yml")
        reason = f"{tmp_path}/m ta/c.yml may be a path with spaces; use --config"
        assert found == UnitVariables(unseen=(Unseen("the file that the unit names", reason),))
        for more in ("--workers 2", "$OPTS"):
            assert serve(f"--config {tmp_path}/c.yml {more}").config == tmp_path / "c.yml"


class TestAsked:
    """systemctl(1)."""

    async def test_asked(self, tmp_path: Path) -> None:
        """It is asked for the unit of the daemon alone."""
        command = script(
            tmp_path / "systemctl", f'echo "$@" > {tmp_path}/words; echo Environment={LEVEL}=debug'
        )
        assert await read_unit_variables([command]) == UnitVariables({LEVEL: "debug"})
        words = (tmp_path / "words").read_text().split()
        assert words == [
            "show",
            "--property",
            "Environment,EnvironmentFiles,UnsetEnvironment,ExecStart,WorkingDirectory",
            "postfix-mta-sts.service",
        ]

    async def test_without_systemd(self, tmp_path: Path) -> None:
        """Without it, or without an answer, there is nothing."""
        fails = script(tmp_path / "systemctl", f"echo Environment={LEVEL}=debug; exit 1")
        assert await read_unit_variables([fails]) == UnitVariables()
        assert await read_unit_variables([str(tmp_path / "none")]) == UnitVariables()

    async def test_it_hangs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """It has half a second; the configuration may be another one, so it is named."""
        monkeypatch.setattr(unit_variables, "TIMEOUT", 0.05)
        hangs = script(tmp_path / "systemctl", "exec sleep 600")
        (unseen,) = (await read_unit_variables([hangs])).unseen
        assert unseen == Unseen("the variables of the unit", "systemctl did not end within 0.05 s")

    async def test_a_disk_hangs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file on a disk of the network is given up; what systemctl itself said counts."""
        goes_on = Event()

        def hang(_: str) -> list[str]:
            goes_on.wait()
            return []

        monkeypatch.setattr(unit_variables, "FILES_TIMEOUT", 0.05)
        monkeypatch.setattr(glob, "glob", hang)
        command = script(
            tmp_path / "systemctl",
            f"echo Environment={LEVEL}=debug; echo 'EnvironmentFiles=/far (ignore_errors=no)'",
        )
        found = await read_unit_variables([command])
        goes_on.set()
        unseen = Unseen("the files of the unit's variables", "these took more than 0.05 s")
        assert found == UnitVariables({LEVEL: "debug"}, unseen=(unseen,))
