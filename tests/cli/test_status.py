"""`postfix-mta-sts status`, with a daemon in the same process."""

import re
import time
from pathlib import Path

import pytest

from postfix_mta_sts import __version__
from postfix_mta_sts.cli.locate import control_path
from postfix_mta_sts.config.settings import ControlSettings, Settings
from postfix_mta_sts.mtasts.errors import StatusError
from postfix_mta_sts.network.sandbox.confinement import Confinement
from postfix_mta_sts.postfix.dane import DaneStatus
from postfix_mta_sts.stats.labels import Answer, Part, Source
from tests.support.control import ControlledDaemon, Operator
from tests.support.resolvers import find_state
from tests.support.surroundings import GOOD, Surroundings


async def test_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The text has one line per fact, to read and to `grep`."""
    around = Surroundings()
    around.publish(GOOD)
    daemon = ControlledDaemon(around)
    await find_state(daemon.resolver, GOOD)
    daemon.counters.answers[Answer.FOUND, Source.MEMORY] += 3
    daemon.counters.answers[Answer.FOUND, Source.NETWORK] += 1
    daemon.not_working.add(Part.STORE_WRITING)
    async with daemon.controlled(tmp_path) as path:
        done = await Operator(path, capsys).run("status")
    assert (done.code, done.err) == (0, "")
    lines = [" ".join(row) for row in done.rows]
    assert lines[:7] == [
        "answering yes",
        "last asked never since the start",
        "failing no domains in memory; policy list --failing also reads the store",
        "DANE on: dane.mode is on",
        "not working store_writing",
        "",
        f"daemon {__version__}, process 100",
    ]
    assert "configuration /etc/test.yml" in lines
    assert "listening socketmap 127.0.0.1:8461" in lines
    assert "policies enforce 1, testing 0, none 0" in lines
    assert "answered from memory 3, store 0, network 1, none 0 (75.0 % from memory)" in lines
    assert "attempts, https success 1" in lines


async def test_dane(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If DANE is off, the text has the reason, and what to do about it."""
    daemon = ControlledDaemon(Surroundings())
    daemon.dane = DaneStatus(on=False, reason="no AD bit", advice="use a validating resolver")
    async with daemon.controlled(tmp_path) as path:
        for_people = await Operator(path, capsys).run("status")
        for_programs = await Operator(path, capsys).run("status", "--json")
    at = for_people.rows.index(["DANE", "off:", "no", "AD", "bit"])
    assert for_people.rows[at + 1] == ["use", "a", "validating", "resolver"]
    assert for_programs.json["dane"] == {
        "on": False,
        "reason": "no AD bit",
        "advice": "use a validating resolver",
        "needs_attention": False,
    }


async def test_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` prints the answer of the daemon as one object."""
    async with ControlledDaemon(Surroundings()).controlled(tmp_path) as path:
        done = await Operator(path, capsys).run("status", "--json")
    assert (done.code, done.err) == (0, "")
    assert (done.json["pid"], "processes" in done.json) == (100, False)


async def test_fresh_daemon(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A daemon that has answered no look-up yet reports that everything works."""
    daemon = ControlledDaemon(Surroundings())
    daemon.renews = False
    async with daemon.controlled(tmp_path) as path:
        done = await Operator(path, capsys).run("status")
    assert done.code == 0
    assert ["health", "all", "parts", "working"] in done.rows
    assert "renewal" not in done.out


async def test_what_is_asked_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Trouble is in the first lines, with its reason, and fits into 80 columns."""
    around = Surroundings()
    around.now = time.time()
    around.publish(GOOD)
    around.policies[GOOD] = StatusError("404")
    daemon = ControlledDaemon(around)
    await find_state(daemon.resolver, GOOD)
    daemon.asked_at = around.now - 3600
    daemon.problem = "no reply within 5 s"
    daemon.not_working.add(Part.NETWORK_PROCESS)
    daemon.reasons[Part.NETWORK_PROCESS] = "it does not answer"
    async with daemon.controlled(tmp_path) as path:
        operator = Operator(path, capsys)
        done = await operator.run("status")
        status = (await operator.run("status", "--json")).json
    first = [" ".join(row) for row in done.rows[:5]]
    assert first[0] == "answering NO: no reply within 5 s"
    assert re.fullmatch(r"last asked 1h( \dm)? ago", first[1])
    assert first[2] == "failing 1 domain in memory; policy list --failing also reads the store"
    assert first[4] == "not working network_process (it does not answer)"
    assert max(map(len, done.out.splitlines())) <= 80
    assert status["answering"] == {"ok": False, "reason": "no reply within 5 s"}
    assert (status["failing"], status["last_asked_at"]) == (1, round(around.now - 3600))
    assert status["reasons"] == {"network_process": "it does not answer"}


async def test_no_daemon(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If no daemon runs, the error is one line, and the exit code is 2."""
    path = tmp_path / "control.sock"
    done = await Operator(path, capsys).run("status")
    assert (done.code, done.out) == (2, "")
    expected = f"postfix-mta-sts: there is no control socket {path}: is the daemon running? "
    assert done.err == f"{expected}If with another file, name that with --config\n"


class TestControlPath:
    """The path of the control socket."""

    def test_settings(self, tmp_path: Path) -> None:
        """The settings take precedence."""
        chosen = Settings(control=ControlSettings(path=tmp_path / "a"))
        assert control_path(chosen, {"RUNTIME_DIRECTORY": "/r"}) == tmp_path / "a"

    @pytest.mark.parametrize(
        ("default", "service", "chosen"),
        [
            (True, True, "default"),
            (False, True, "service"),
            (False, False, "default"),
        ],
    )
    def test_surroundings(
        self, tmp_path: Path, *, default: bool, service: bool, chosen: str
    ) -> None:
        """The default path, unless only the system service has a socket."""
        paths = {
            "default": tmp_path / "control.sock",
            "service": tmp_path / "service.sock",
        }
        for name, there in (("default", default), ("service", service)):
            if there:
                paths[name].touch()
        environ = {"RUNTIME_DIRECTORY": str(tmp_path)}
        assert control_path(Settings(), environ, paths["service"]) == paths[chosen]


FILES, SOCKETS = "reads only what it needs, writes nothing", "no UNIX sockets"
PROCESSES = "no other processes"


@pytest.mark.parametrize(
    ("held", "lines"),
    [
        (
            Confinement(files=True, ports=(25, 53), unix_sockets=True, processes=True),
            ["; ".join(("sandbox " + FILES, "TCP ports 25, 53 only", SOCKETS, PROCESSES))],
        ),
        (
            Confinement(files=True, missing=("ports: Linux 6.7 is needed", "sockets: no")),
            [
                f"sandbox {FILES}",
                "not restricted: ports: Linux 6.7 is needed",
                "not restricted: sockets: no",
            ],
        ),
        (
            Confinement(is_wanted=False, missing=("network.sandbox is off",)),
            ["sandbox none", "not restricted: network.sandbox is off"],
        ),
    ],
    ids=["all", "some", "off"],
)
async def test_sandbox(
    held: Confinement, lines: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the network process is kept from, and what not and why; the same for programs."""
    daemon = ControlledDaemon(Surroundings())
    daemon.confinement = held
    async with daemon.controlled(tmp_path) as path:
        for_people = await Operator(path, capsys).run("status")
        for_programs = await Operator(path, capsys).run("status", "--json")
    shown = [" ".join(row) for row in for_people.rows]
    at = shown.index(lines[0])
    assert shown[at : at + len(lines)] == lines
    assert for_programs.json["sandbox"] == {
        "is_wanted": held.is_wanted,
        "files": held.files,
        "ports": list(held.ports) if held.ports else None,
        "unix_sockets": held.unix_sockets,
        "processes": held.processes,
        "missing": list(held.missing),
    }
