"""`postfix-mta-sts status`, asked of a daemon in this process."""

from pathlib import Path

import pytest

from postfix_mta_sts.admin.processes import Sibling
from postfix_mta_sts.cli.locate import control_path
from postfix_mta_sts.config.settings import ControlSettings, Settings
from postfix_mta_sts.postfix.dane import DaneStatus
from postfix_mta_sts.stats import Answer, Part, Source
from tests.support.control import Operator, Worker
from tests.support.surroundings import GOOD, Surroundings


async def test_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the daemon is, has and does, a line each, for eyes and `grep`."""
    around = Surroundings()
    around.publish(GOOD)
    worker = Worker(around, 0, {1: Sibling(tmp_path / "none")})
    await worker.resolver.look_up(GOOD)
    worker.counters.answers[Answer.FOUND, Source.MEMORY] += 3
    worker.counters.answers[Answer.FOUND, Source.NETWORK] += 1
    worker.not_working.add(Part.STORE_WRITING)
    async with worker.controlled(tmp_path) as path:
        done = await Operator(path, capsys).run("status")
    assert (done.code, done.err) == (0, "")
    lines = [" ".join(row) for row in done.rows]
    assert "workers 1 of 2 answer: 100" in lines
    assert "configuration /etc/test.yml" in lines
    assert "listens socketmap 127.0.0.1:8461" in lines
    assert "DANE on: dane.mode is on" in lines
    assert "policies enforce 1, testing 0, none 0" in lines
    assert "answered from memory 3, store 0, network 1, none 0 (75.0 % from memory)" in lines
    assert "attempts, https success 1" in lines
    assert "not working store_writing" in lines


async def test_dane(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where DANE is off, the reason is told, and what to do about it."""
    worker = Worker(Surroundings())
    worker.dane = DaneStatus(on=False, reason="it rains", advice="wait")
    async with worker.controlled(tmp_path) as path:
        for_people = await Operator(path, capsys).run("status")
        for_programs = await Operator(path, capsys).run("status", "--json")
    at = for_people.rows.index(["DANE", "off:", "it", "rains"])
    assert for_people.rows[at + 1] == ["wait"]
    assert for_programs.json["dane"] == {"on": False, "reason": "it rains", "advice": "wait"}


async def test_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` is what the daemon says, as one object."""
    async with Worker(Surroundings()).controlled(tmp_path) as path:
        done = await Operator(path, capsys).run("status", "--json")
    assert (done.code, done.err) == (0, "")
    assert done.json["processes"] == {"wanted": 1, "answering": [100]}


async def test_fresh_daemon(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A daemon that nobody has asked yet has nothing to tell, and tells it."""
    worker = Worker(Surroundings())
    worker.renews = False
    async with worker.controlled(tmp_path) as path:
        done = await Operator(path, capsys).run("status")
    assert done.code == 0
    assert ["not", "working", "nothing"] in done.rows
    assert "renewal" not in done.out


async def test_no_daemon(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where no daemon runs, that is one line, and exit code 2."""
    path = tmp_path / "control.sock"
    done = await Operator(path, capsys).run("status")
    assert (done.code, done.out) == (2, "")
    expected = f"postfix-mta-sts: there is no control socket {path}: is the daemon running?\n"
    assert done.err == expected


class TestControlPath:
    """Which socket is asked."""

    def test_settings(self, tmp_path: Path) -> None:
        """What the settings say goes before all."""
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
        """The default place, unless there is nothing but a service has its socket."""
        paths = {
            "default": tmp_path / "control.sock",
            "service": tmp_path / "service.sock",
        }
        for name, there in (("default", default), ("service", service)):
            if there:
                paths[name].touch()
        environ = {"RUNTIME_DIRECTORY": str(tmp_path)}
        assert control_path(Settings(), environ, paths["service"]) == paths[chosen]
