"""What `doctor` reads of the configuration: valid, with errors, denied; and what preflight says."""

import argparse
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from postfix_mta_sts.admin.doctor.given import Given
from postfix_mta_sts.admin.doctor.report import Unseen
from postfix_mta_sts.admin.doctor.snapshot import ConfigProblem, Place
from postfix_mta_sts.cli import parser
from postfix_mta_sts.cli.doctor_configuration import Preflight, read_given
from postfix_mta_sts.cli.parser import CommandError
from postfix_mta_sts.config.settings import Settings
from postfix_mta_sts.daemon import preflight
from tests.support.plain_user import as_plain_user

NOTHING: Final[Mapping[str, str]] = {}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The path of the configuration."""
    return tmp_path / "c.yml"


def given(config: Path | None, text: str = "", environ: Mapping[str, str] = NOTHING) -> Given:
    """What was read of this text."""
    if config:
        config.write_text(text)
    return read_given(argparse.Namespace(config=config), environ, 64)


class TestRead:
    """The file and the variables."""

    def test_valid(self, config: Path) -> None:
        """The settings, and where each key stands."""
        found = given(config, "cache:\n  path: /a/p.db # here\n")
        assert (found.is_valid, found.config_file, found.config_problems) == (True, config, ())
        assert found.store_path == Path("/a/p.db")
        assert found.places == {
            "cache": Place(str(config), 1, "cache:"),
            "cache.path": Place(str(config), 2, "  path: /a/p.db # here"),
        }

    def test_none(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Without a file the defaults hold."""
        monkeypatch.setattr(parser, "DEFAULT_CONFIG", tmp_path / "none")
        found = given(None)
        assert (found.settings, found.is_valid, found.config_file) == (Settings(), True, None)
        assert found.places == {}

    def test_errors(self, config: Path) -> None:
        """Each error has its key and its line, and the rest counts."""
        text = "https:\n  timout: 3s\nlog: {level: loud}\ncache: {path: /a/p.db}\n"
        found = given(config, text)
        assert not found.is_valid
        assert found.store_path == Path("/a/p.db")
        first, second = found.config_problems
        assert (first.key, first.file, first.line) == ("https.timout", str(config), 2)
        assert first.reason.startswith("unknown key, perhaps timeout; allowed: ")
        assert not first.is_warning
        assert found.places[first.key].text == "  timout: 3s"
        assert (second.key, second.line) == ("log.level", 3)

    def test_listeners_with_errors(self, config: Path) -> None:
        """Listeners that are not valid are taken to be the usual ones."""
        found = given(config, "listen: [{socketmap: nonsense}]\n")
        assert (found.is_valid, found.settings.listen) == (False, Settings().listen)

    def test_no_yaml(self, config: Path) -> None:
        """A text that is not YAML has one error, and the defaults hold."""
        found = given(config, "a: [\n")
        (problem,) = found.config_problems
        assert (problem.key, problem.file) == ("", str(config))
        assert problem.reason.startswith("not YAML: ")
        assert (found.is_valid, found.settings) == (False, Settings())

    def test_a_variable(self, config: Path) -> None:
        """An error of a variable has no line."""
        found = given(config, environ={"POSTFIX_MTA_STS__LOG__LEVEL": "loud"})
        (problem,) = found.config_problems
        assert (problem.file, problem.line) == ("", 0)
        assert problem.reason.startswith("POSTFIX_MTA_STS__LOG__LEVEL: log.level: found 'loud'")

    def test_denied(self, config: Path) -> None:
        """A file that another user than root may not read is unseen."""
        config.touch(mode=0)
        imports = (
            "import argparse\nfrom pathlib import Path\n"
            "from postfix_mta_sts.cli.doctor_configuration import read_given"
        )
        code = (
            "found = read_given(argparse.Namespace(config=Path(sys.argv[1])), {}, 64)\n"
            "print(*(each.reason for each in found.unseen), found.is_valid)"
        )
        printed = as_plain_user(imports, code, config)
        assert printed == f"{config}: Permission denied; run doctor as root False\n"

    def test_denied_by_the_system(self, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The same for a file that is denied to root."""

        def deny(_: Path) -> str:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("postfix_mta_sts.config.config_file.read_text", deny)
        self.check_denied(config)

    @staticmethod
    def check_denied(config: Path) -> None:
        """Nothing is known of the settings, and that is no error of them."""
        found = read_given(argparse.Namespace(config=config), NOTHING, 64)
        reason = f"{config}: Permission denied; run doctor as root"
        assert found.unseen == (Unseen("the configuration of the daemon", reason),)
        assert (found.is_valid, found.config_problems) == (False, ())

    def test_missing(self, config: Path) -> None:
        """A file that is named and not there is a wrong argument."""
        with pytest.raises(CommandError, match="No such file or directory") as caught:
            read_given(argparse.Namespace(config=config), NOTHING, 64)
        assert caught.value.exit_code == 64


class TestOfUnit:
    """The file that the unit of the daemon names."""

    def test_it_is_read(self, config: Path, tmp_path: Path) -> None:
        """It is the daemon's, unless the arguments name another one."""
        config.write_text("cache: {path: /unit/p.db}\n")
        (tmp_path / "own.yml").write_text("cache: {path: /own/p.db}\n")
        for own, folder in ((None, "/unit"), (tmp_path / "own.yml", "/own")):
            found = read_given(argparse.Namespace(config=own), NOTHING, 64, config)
            assert found.store_path == Path(folder, "p.db")

    def test_missing(self, config: Path) -> None:
        """The daemon cannot start with it: that is a fault, and no wrong argument."""
        found = read_given(argparse.Namespace(config=None), NOTHING, 64, config)
        (problem,) = found.config_problems
        assert (found.is_valid, found.config_file) == (False, config)
        assert problem.reason == (
            f"{config}: No such file or directory; the unit of the daemon names it"
        )


class TestPreflight:
    """What keeps the daemon from starting."""

    @pytest.fixture(autouse=True)
    def certificates(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The machine has CA certificates, wherever the tests run."""
        monkeypatch.setattr(preflight, "system_problem", lambda _: "")

    @pytest.fixture
    def taken(self) -> Iterator[int]:
        """A port that something listens on."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            yield listener.getsockname()[1]

    @staticmethod
    def check(config: Path, text: str, *, is_root: bool = True) -> tuple[ConfigProblem, ...]:
        """What is said of this text, with the store and the control socket in its folder."""
        state = f"cache: {{path: {config.parent}/p.db}}\ncontrol: {{path: {config.parent}/c}}\n"
        found = given(config, state + text)
        assert found.is_valid
        return tuple(Preflight(found, NOTHING, is_root=is_root)())

    def test_in_use(self, config: Path, taken: int) -> None:
        """An address in use is a warning; the rules know whether it matters."""
        (problem,) = self.check(config, f"listen: [{{socketmap: '127.0.0.1:{taken}'}}]\n")
        assert problem.is_warning
        assert " is in use now" in problem.reason

    def test_errors(self, config: Path) -> None:
        """A configuration with errors is not tried: the daemon would not come so far."""
        found = given(config, "listen: [{socketmap: 192.0.2.1:8461}]\nlog: {level: loud}\n")
        assert Preflight(found, NOTHING, is_root=True)() == ()

    def test_error(self, config: Path) -> None:
        """The place is that of the key, or of the section that should have it."""
        text = "listen:\n  - socketmap: 192.0.2.1:8461\n"
        (problem,) = self.check(config, text)
        assert (problem.key, problem.is_warning) == ("listen[0].socketmap", False)
        assert (problem.file, problem.line) == (str(config), 4)

    def test_plain_user(self, config: Path) -> None:
        """What only that user may not do is not said; what holds for every user is."""
        text = (
            "listen: [{socketmap: 192.0.2.1:8461}]\n"
            "exceptions: {a.test: {use: may, reason: x, until: 2020-12-31}}\n"
        )
        (problem,) = self.check(config, text, is_root=False)
        assert (problem.key, problem.is_warning) == ("exceptions.a.test.until", True)

    def test_folders_of_the_daemon(self, config: Path, tmp_path: Path) -> None:
        """The folders of the user who runs `doctor` do not count."""
        home = tmp_path / "home"
        home.mkdir(mode=0o500)
        found = given(
            config, f"listen: [{{socketmap: '127.0.0.1:0'}}]\ncache: {{path: {tmp_path}/p}}"
        )
        environ = {"HOME": str(home), "RUNTIME_DIRECTORY": str(tmp_path)}
        assert Preflight(found, environ, is_root=True)() == ()
