"""`postfix-mta-sts doctor`: arguments, exit codes, JSON, Ctrl-C, and all of it beside a daemon."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import jsonschema
import pytest

from postfix_mta_sts.admin.doctor.given import Given
from postfix_mta_sts.admin.doctor.report import Unseen
from postfix_mta_sts.admin.doctor.sight import BUDGET
from postfix_mta_sts.admin.doctor.snapshot import ConfigProblem, Snapshot
from postfix_mta_sts.admin.doctor.unit_variables import UnitVariables
from postfix_mta_sts.cli import doctor
from postfix_mta_sts.cli.doctor import _LEAST_BUDGET
from postfix_mta_sts.cli.live import Live
from postfix_mta_sts.values import to_json
from tests.support.commands import Commands, Done
from tests.support.daemons import daemon
from tests.support.internet import Internet
from tests.support.postfix_programs import hide_postfix
from tests.support.reports import REPORTS
from tests.support.scripts import script
from tests.support.snapshots import good, with_parameters, with_tables
from tests.support.terminals import on_terminal

SCHEMA: Final = Path(__file__).parents[2] / "docs" / "doctor.schema.json"

See: TypeAlias = Callable[[Snapshot], list[Given]]


@pytest.fixture
def schema() -> dict[str, Any]:
    """The schema that is kept as a part of the interface."""
    kept: dict[str, Any] = json.loads(SCHEMA.read_text("utf-8"))
    return kept


async def no_unit() -> UnitVariables:
    """In place of what the unit of this machine has."""
    return UnitVariables()


@pytest.fixture
def see(monkeypatch: pytest.MonkeyPatch) -> See:
    """Let the command see a machine; returns what it was given."""

    def see(snapshot: Snapshot) -> list[Given]:
        given: list[Given] = []

        def look(arguments: Given, _: Mapping[str, str], __: Live, budget: float) -> Snapshot:
            assert _LEAST_BUDGET <= budget <= BUDGET
            given.append(arguments)
            return snapshot

        monkeypatch.setattr(doctor, "_look", look)
        monkeypatch.setattr(doctor, "read_unit_variables", no_unit)
        return given

    return see


class TestSchema:
    """`--schema`."""

    def test_it_is_kept(self, commands: Commands) -> None:
        """It is docs/doctor.schema.json; see CONTRIBUTING.md for how to write that again."""
        done = commands.run("doctor", "--schema")
        assert (done.code, done.err) == (0, "")
        assert done.out == SCHEMA.read_text("utf-8")

    def test_it_is_one(self, schema: dict[str, Any]) -> None:
        """It is a valid schema (JSON Schema 2020-12), of an object whose members are all named."""
        jsonschema.Draft202012Validator.check_schema(schema)
        root = schema["$defs"]["Report"]
        assert schema["$ref"] == "#/$defs/Report"
        assert {"exit_code", "findings", "unseen", "facts"} <= root["properties"].keys()

    def test_it_refuses(self, schema: dict[str, Any]) -> None:
        """What is not a report does not fit it."""
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.Draft202012Validator(schema).validate({"findings": []})

    @pytest.mark.parametrize("name", REPORTS)
    def test_every_report(self, schema: dict[str, Any], name: str) -> None:
        """Each form of a report fits it."""
        jsonschema.Draft202012Validator(schema).validate(json.loads(to_json(REPORTS[name])))


class TestReport:
    """What is printed, and the exit code."""

    def test_well(self, commands: Commands, see: See) -> None:
        """Nothing is wrong."""
        see(good())
        done = commands.run("doctor")
        assert (done.code, done.lines[0], done.err) == (0, "All is well", "")

    @pytest.mark.parametrize(
        ("snapshot", "code", "found"),
        [
            (good(), 0, []),
            (with_parameters(good(), smtp_tls_security_level="none"), 1, ["level-none"]),
            (with_tables(good()), 2, ["map-missing"]),
        ],
    )
    def test_exit_codes(
        self,
        commands: Commands,
        see: See,
        schema: dict[str, Any],
        snapshot: Snapshot,
        code: int,
        found: list[str],
    ) -> None:
        """A warning has 1, and mail that is held or unprotected 2, with and without `--json`."""
        see(snapshot)
        done = commands.run("doctor", "--json")
        report = json.loads(done.out)
        jsonschema.Draft202012Validator(schema).validate(report)
        assert (done.code, report["exit_code"]) == (code, code)
        assert [each["id"] for each in report["findings"]] == found
        assert commands.run("doctor").code == code


class TestArguments:
    """What the command is told."""

    def test_all(self, commands: Commands, see: See, tmp_path: Path) -> None:
        """The file, the domain and the configuration are passed on."""
        path, config = tmp_path / "main.cf", tmp_path / "c.yml"
        path.write_text("relayhost = x\n")
        config.write_text("cache: {path: /a/policies.db}\n")
        given = see(good())
        words = ("--main-cf", path, "--outward", "Bücher.test", "--config", config)
        assert commands.run("doctor", *words).code == 0
        (seen,) = given
        assert (seen.main_cf_file, seen.main_cf_text) == (path, "relayhost = x\n")
        assert seen.outward == "xn--bcher-kva.test"
        assert (seen.config_file, seen.store_path) == (config, Path("/a/policies.db"))

    @pytest.mark.parametrize(
        ("words", "reason"),
        [
            (["--main-cf", "/no/such"], "/no/such: No such file or directory"),
            (["--main-cf", "/"], "/: it is a folder; name a file in it"),
            (["--config", "/no/such"], "/no/such: No such file or directory"),
            (["--outward", "a@b.test"], "not a domain name: 'a@b.test'; write b.test"),
            (["--outward", ""], "not a domain name: ''"),
        ],
    )
    def test_usage(self, commands: Commands, words: list[str], reason: str) -> None:
        """A file or a domain that is none is one line, with exit code 64."""
        done = commands.run("doctor", *words)
        assert (done.code, done.out, done.err) == (64, "", f"postfix-mta-sts: {reason}\n")

    @pytest.mark.parametrize(
        "text", ["", "\n", "# x = 1\n", "Error response from daemon: No such container: mail\n"]
    )
    def test_no_main_cf(self, commands: Commands, tmp_path: Path, text: str) -> None:
        """What a pipe has if its first command fails is no main.cf, and has no findings."""
        path = tmp_path / "main.cf"
        path.write_text(text)
        done = commands.run("doctor", "--main-cf", path)
        assert (done.code, done.out) == (64, "")
        reason = "it has no parameters of Postfix; name a main.cf, or the output of postconf"
        assert done.err == f"postfix-mta-sts: {path}: {reason}\n"

    def test_master_cf(self, commands: Commands, see: See, tmp_path: Path) -> None:
        """It is read if it is beside a file called main.cf."""
        for name in ("main.cf", "postconf.txt", "master.cf"):
            text = "a unix - - n - - smtp\n" if name == "master.cf" else "relayhost =\n"
            (tmp_path / name).write_text(text)
        given = see(good())
        for name in ("main.cf", "postconf.txt"):
            assert commands.run("doctor", "--main-cf", tmp_path / name).code == 0
        (tmp_path / "master.cf").write_bytes(b"\xff")
        assert commands.run("doctor", "--main-cf", tmp_path / "main.cf").code == 0
        assert [each.master_cf_text for each in given] == ["a unix - - n - - smtp\n", None, None]
        (unseen,) = given[-1].unseen
        assert unseen.what == f"{tmp_path}/master.cf"
        assert unseen.reason.startswith("byte 0xFF in line 1")

    def test_variables_of_the_unit(
        self, commands: Commands, see: See, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """They count as for the daemon; what could not be read is said, and what a start lacks."""
        unseen = Unseen("the variables in /a", "Permission denied")
        problem = ConfigProblem("", "/b: No such file or directory", is_warning=False)
        own = {"POSTFIX_MTA_STS__CACHE__PATH": "/unit/p.db"}

        async def read() -> UnitVariables:
            return UnitVariables(own, unseen=(unseen,), problems=(problem,))

        given = see(good())
        monkeypatch.setenv("POSTFIX_MTA_STS__CACHE__PATH", "/mine/p.db")
        monkeypatch.setattr(doctor, "read_unit_variables", read)
        assert commands.run("doctor").code == 0
        (seen,) = given
        assert (seen.store_path, seen.unseen) == (Path("/unit/p.db"), (unseen,))
        assert seen.config_problems == (problem,)

    @pytest.mark.parametrize("words", [["--nonsense"], ["x"], ["--json", "--schema"]])
    def test_wrong(self, commands: Commands, words: list[str]) -> None:
        """So is a wrong argument."""
        assert commands.run("doctor", *words).code == 64


class TestBesideDaemon:
    """All of it, on a machine without Postfix and systemd."""

    @pytest.fixture(autouse=True)
    def no_postfix(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """There is no Postfix and no systemctl, also on a machine that has them."""
        hide_postfix(monkeypatch, tmp_path)

    @pytest.fixture
    def config(self, net: Internet, tmp_path: Path) -> Path:
        """A configuration that is older than the daemon."""
        path = net.config(tmp_path)
        os.utime(path, (0, 0))
        return path

    @staticmethod
    async def doctor(commands: Commands, config: Path, *words: object) -> Done:
        """Run the command in a thread, while the servers in this event loop answer it."""
        given = ("--json", "--config", config, *words)
        return await asyncio.to_thread(commands.run, "doctor", *map(str, given))

    async def test_it_runs(
        self, commands: Commands, net: Internet, config: Path, tmp_path: Path
    ) -> None:
        """Nothing is wrong, and what is not there is named."""
        async with daemon(net, tmp_path):
            done = await self.doctor(commands, config)
        report = json.loads(done.out)
        assert (report["findings"], done.code, done.err) == ([], 0, "")
        unseen = {each["what"]: each["reason"] for each in report["unseen"]}
        assert unseen["the systemd unit"] == "systemctl was not found"
        assert unseen["Postfix"] == "postconf was not found; name a main.cf with --main-cf"
        assert {"label": "configuration", "text": str(config)} in report["facts"]

    async def test_it_is_stopped(self, commands: Commands, config: Path) -> None:
        """Nobody is at the control socket, nor at a listener."""
        report = json.loads((await self.doctor(commands, config)).out)
        assert [each["id"] for each in report["findings"]] == ["daemon-stopped"]

    async def test_main_cf(
        self, commands: Commands, net: Internet, config: Path, tmp_path: Path
    ) -> None:
        """The Postfix of another machine, by its main.cf."""
        path = tmp_path / "main.cf"
        path.write_text(
            "smtp_tls_security_level = may\nsmtp_tls_loglevel = 1\n"
            "smtp_tls_CAfile = /etc/ssl/certs/ca-certificates.crt\n"
        )
        async with daemon(net, tmp_path):
            done = await self.doctor(commands, config, "--main-cf", path)
            found = [each["id"] for each in json.loads(done.out)["findings"]]
            assert (done.code, found) == (2, ["map-missing"])
            with path.open("a") as file:
                file.write(f"smtp_tls_policy_maps = socketmap:unix:{tmp_path}/socketmap:postfix\n")
            done = await self.doctor(commands, config, "--main-cf", path)
        assert (done.code, json.loads(done.out)["findings"]) == (0, [])

    async def test_a_configuration_with_errors(
        self, commands: Commands, net: Internet, tmp_path: Path
    ) -> None:
        """The running daemon goes on with what it had; the error is a finding."""
        async with daemon(net, tmp_path):
            config = net.config(tmp_path, {"log": {"levl": "info"}})
            done = await self.doctor(commands, config)
        report = json.loads(done.out)
        assert [each["id"] for each in report["findings"]] == ["config-invalid"]


def test_a_name_server_that_hangs(tmp_path: Path) -> None:
    """A look-up of the C library cannot be given up, and holds the end of the command back no more.

    The test itself has a limit of time; without this the command ends after an hour.
    """
    hide = "import socket, time; socket.getaddrinfo = lambda *_, **__: time.sleep(3600); "
    program = f"{hide}from postfix_mta_sts.cli.main import main; main()"
    config = tmp_path / "c.yml"
    config.write_text(
        "listen: [{socketmap: 'slow.test:8461'}]\n"
        f"control: {{path: {tmp_path}/s}}\ncache: {{path: {tmp_path}/p}}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "doctor", "--json", "--config", config],
        env={"PATH": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        timeout=50,
        check=False,
    )
    assert done.stderr == b""
    assert "what a start needs" in {each["what"] for each in json.loads(done.stdout)["unseen"]}


def test_interrupted(tmp_path: Path) -> None:
    """After Ctrl-C nothing is printed, and the terminal is as it was."""
    script(tmp_path / "systemctl", "exec sleep 60")
    config = tmp_path / "c.yml"
    config.write_text(f"control: {{path: {tmp_path}/control.sock}}\n")
    with on_terminal("doctor", "--config", config, PATH=f"{tmp_path}:/usr/bin:/bin") as terminal:
        terminal.until("waiting for")
        assert terminal.interrupt() == 130
    assert terminal.screen == [""]
