"""`status --fleet`, and the lines of `status` and `policy show` about the shared store."""

import asyncio
import json
import time
from pathlib import Path

import pytest

from postfix_mta_sts.mtasts.policy import Mode
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.stats import FleetNumbers
from postfix_mta_sts.stats.labels import Part
from postfix_mta_sts.store import HistoryEntry
from postfix_mta_sts.store.fleet.requests import History, Relays, Seen
from postfix_mta_sts.values import replace
from tests.support.control import ControlledDaemon, Operator
from tests.support.fleet_asked import FakeFleet, relay, shared
from tests.support.resolvers import find_state
from tests.support.surroundings import GOOD, Surroundings
from tests.support.terminals import COLUMNS, on_terminal

ON = FleetNumbers(is_on=True, waiting=2, exceptions_version=3)
RELAYS = Relays(
    (
        relay("mx1"),
        relay("mx2", 7290.0, waiting=12, exceptions_version=2),
        relay("mx3", exceptions_version=2),
        relay("x" * 64),
    ),
    refused=2,
)


@pytest.fixture
def daemon() -> ControlledDaemon:
    """A daemon, at the time of the commands, with a shared store."""
    around = Surroundings()
    around.now = time.time()
    around.publish(GOOD)
    daemon = ControlledDaemon(around)
    daemon.fleet, daemon.fleet_numbers = FakeFleet(ReadRelays=RELAYS).fleet, ON
    return daemon


async def test_relays(
    daemon: ControlledDaemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each relay has a line; those that are silent are marked, and the sums name them."""
    async with daemon.controlled(tmp_path) as path:
        done = await Operator(path, capsys).run("status", "--fleet")
    assert (done.code, done.err) == (0, "")
    header, first, second, third, *_ = done.rows
    assert header == ["RELAY", "SEEN", "POLICIES", "LAG", "EXCEPTIONS", "VERSION"]
    assert (first[:2], first[4:]) == (["mx1", "(here)"], ["100", "none", "v3", "1.2.3"])
    silent = ["mx2", "SILENT", "2h", "1m", "ago", "100"]
    assert second == [*silent, "12", "policies,", "1", "version", "v2", "1.2.3"]
    assert third[-4:] == ["1", "version", "v2", "1.2.3"]
    assert "4 relays, 1 silent, 1 without the last exceptions, v3" in done.out
    assert "policies that wait to be given to it: 2" in done.out
    assert "2 not shown: signed with another key, or not valid; see fleet check" in done.out


async def test_width(daemon: ControlledDaemon, tmp_path: Path) -> None:
    """On a terminal of 80 columns no line is longer, whatever the relays are called."""
    config = tmp_path / "config.yml"
    async with daemon.controlled(tmp_path) as path:
        config.write_text(json.dumps({"control": {"path": str(path)}}))
        with on_terminal("status", "--fleet", "--config", config) as terminal:
            assert await asyncio.to_thread(terminal.end) == 0
    assert all(len(line) <= COLUMNS for line in terminal.screen), terminal.screen
    assert any("SILENT 2h" in line for line in terminal.screen)


async def test_json(
    daemon: ControlledDaemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--json` has the relays, and what this one has to do with the store."""
    async with daemon.controlled(tmp_path) as path:
        done = await Operator(path, capsys).run("status", "--fleet", "--json")
    assert [each["silent"] for each in done.json["relays"]] == [False, True, False, False]
    assert [each["exceptions_behind"] for each in done.json["relays"]] == [0, 1, 1, 0]
    assert done.json["fleet"]["url"] == "valkey://192.0.2.1:6379/0"
    assert (done.json["refused"], done.json["problem"]) == (2, None)


async def test_the_store_does_not_answer(
    daemon: ControlledDaemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Then the reason is on standard error, and the own part is printed all the same."""
    daemon.fleet = FakeFleet().fleet
    daemon.fleet_numbers = FleetNumbers(
        is_on=True, problem="connection refused", since=time.time() - 7290, is_asked=False
    )
    daemon.not_working.add(Part.FLEET)
    async with daemon.controlled(tmp_path) as path:
        done = await Operator(path, capsys).run("status", "--fleet")
        status = await Operator(path, capsys).run("status")
    assert done.code == 2
    assert done.err == "postfix-mta-sts: the relays are not known: connection refused\n"
    line = "NOT REACHED for 2h 1m: connection refused; it is asked again within a minute"
    assert line in done.out
    assert line in status.out
    assert ["health", "all", "parts", "working"] in status.rows
    assert status.code == 0


async def test_the_store_is_read_and_not_written(
    daemon: ControlledDaemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Then it is named as failing, and not as out of reach."""
    daemon.fleet_numbers = FleetNumbers(
        is_on=True, problem="out of memory", since=time.time() - 7290
    )
    async with daemon.controlled(tmp_path) as path:
        status = await Operator(path, capsys).run("status")
        nagios = await Operator(path, capsys).run("status", "--nagios")
    assert "NOT WRITTEN for 2h 1m: out of memory; it is read" in status.out
    assert "fleet not written for 2h 1m (out of memory), mail does not depend on it" in nagios.out


async def test_a_distant_store(
    daemon: ControlledDaemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A store that answers too late for look-ups is named as slow, and not as out of reach."""
    daemon.fleet_numbers = FleetNumbers(
        is_on=True, problem="no answer within 0.05 s", since=time.time() - 7290, is_slow=True
    )
    async with daemon.controlled(tmp_path) as path:
        status = await Operator(path, capsys).run("status")
        nagios = await Operator(path, capsys).run("status", "--nagios")
    assert "TOO SLOW for 2h 1m: no answer within 0.05 s; look-ups do not ask it, " in status.out
    assert "fleet too slow for 2h 1m (no answer within 0.05 s), mail does not" in nagios.out


async def test_no_fleet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A relay that shares nothing says so, and `status` has no line about it."""
    async with ControlledDaemon(Surroundings()).controlled(tmp_path) as path:
        done = await Operator(path, capsys).run("status", "--fleet")
        status = await Operator(path, capsys).run("status")
    assert done.code == 2
    assert "shares nothing" in done.err
    assert "fleet" not in status.out


async def test_nagios_is_another_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--fleet` and `--nagios` are refused together."""
    done = await Operator(tmp_path / "control.sock", capsys).run("status", "--fleet", "--nagios")
    assert done.code == 2
    assert "either" in done.err


async def test_fresh(
    daemon: ControlledDaemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A daemon that has not asked the store yet says that; later, how long it has been well."""
    async with daemon.controlled(tmp_path) as path:
        fresh = await Operator(path, capsys).run("status")
        daemon.fleet_numbers = FleetNumbers(is_on=True, since=time.time() - 7290)
        later = await Operator(path, capsys).run("status")
    assert ["fleet", "not", "asked", "yet"] in fresh.rows
    assert ["mx1", "at", "valkey://192.0.2.1:6379/0"] in fresh.rows
    assert ["fleet", "well", "for", "2h", "1m"] in later.rows


class TestPolicyShow:
    """`policy show` asks the shared store."""

    async def shown(
        self, daemon: ControlledDaemon, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> list[str]:
        """The lines of the command."""
        async with daemon.controlled(folder) as path:
            done = await Operator(path, capsys).run("policy", "show", GOOD)
        return [" ".join(row) for row in done.rows]

    async def test_same(
        self, daemon: ControlledDaemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """It says which relay has fetched the policy, when, and that it is the same as here."""
        await find_state(daemon.resolver, GOOD)
        daemon.fleet = FakeFleet(Look=Seen(shared())).fleet
        lines = await self.shown(daemon, tmp_path, capsys)
        at = lines.index("shared enforce, id a; the same as here")
        assert lines[at + 1].startswith("fetched by mx2 at 2")

    async def test_given_by_another_relay_than_fetched_it(
        self, daemon: ControlledDaemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """It says which relay has given the policy, if that is all that is known."""
        daemon.fleet = FakeFleet(Look=Seen(replace(shared(), is_own_fetch=False))).fleet
        lines = await self.shown(daemon, tmp_path, capsys)
        (line,) = [line for line in lines if line.startswith("fetched at 2")]
        assert line.endswith(", given by mx2")

    async def test_not_used(
        self, daemon: ControlledDaemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """It says why a policy is not used."""
        daemon.fleet = FakeFleet(Look=Seen(shared(mode="none"))).fleet
        lines = await self.shown(daemon, tmp_path, capsys)
        assert "shared none, id a; not used here: its mode is none" in lines

    async def test_unavailable(
        self, daemon: ControlledDaemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """It says that the store does not answer; what this relay knows is shown all the same."""
        await find_state(daemon.resolver, GOOD)
        daemon.fleet = FakeFleet().fleet
        lines = await self.shown(daemon, tmp_path, capsys)
        assert "shared not known: the shared store did not answer: connection refused" in lines
        assert "mode enforce" in lines

    async def test_history(
        self, daemon: ControlledDaemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The history has what only other relays have seen."""
        old = HistoryEntry(PolicyId("old"), Mode.TESTING, ("mx",), daemon.around.now - 9e6, 0.0)
        await find_state(daemon.resolver, GOOD)
        daemon.fleet = FakeFleet(ReadHistory=History((old,))).fleet
        lines = await self.shown(daemon, tmp_path, capsys)
        assert any("testing old mx" in line for line in lines)
        assert any("enforce a mx1" in line for line in lines)
