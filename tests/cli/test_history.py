"""`postfix-mta-sts policy history`, against a daemon in this process."""

import asyncio
import json
import time
from pathlib import Path

import pytest

from postfix_mta_sts.admin.times import moment
from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.mtasts.weakening import WeakeningKind
from postfix_mta_sts.values import replace
from tests.support.control import ControlledDaemon, Operator
from tests.support.fleet_asked import FakeFleet
from tests.support.records import a_weakening
from tests.support.resolvers import find_state
from tests.support.surroundings import GOOD, Surroundings
from tests.support.terminals import COLUMNS, on_terminal

DAY = 86_400.0


@pytest.fixture
async def daemon() -> ControlledDaemon:
    """A daemon that accepted a policy a minute ago; a domain became weaker now, one last week."""
    around = Surroundings()
    around.now = float(int(time.time()) - 60)
    around.publish(GOOD)
    daemon = ControlledDaemon(around)
    await find_state(daemon.resolver, GOOD)
    around.now += 60
    old = replace(a_weakening("old.test", around.now - 8 * DAY), kind=WeakeningKind.DANE)
    await daemon.records.put_weakenings(replace(old, before="all", after="none", policy_id=""))
    await daemon.records.put_weakenings(a_weakening(at=around.now - 1))
    return daemon


async def test_all(daemon: ControlledDaemon, operator: Operator) -> None:
    """A line for each event, the oldest first."""
    done = await operator.run("policy", "history")
    assert (done.code, done.err) == (0, "")
    now = daemon.around.now
    assert done.out.splitlines()[0].split() == ["DOMAIN", "TIME", "EVENT", "ID", "CHANGE"]
    assert [" ".join(row) for row in done.rows[1:]] == [
        f"old.test {moment(now - 8 * DAY)} weaker: dane - all -> none",
        f"good.test {moment(now - 1)} weaker: mode id1 enforce -> testing",
    ]


async def test_one_domain(operator: Operator) -> None:
    """The policies of the domain are listed, too, unless only what is weaker is asked for."""
    done = await operator.run("policy", "history", "GOOD.test")
    accepted, weaker = done.rows[1:]
    assert accepted[:1] + accepted[3:] == ["good.test", "accepted", "a", "enforce", "mx1.good.test"]
    assert weaker[3:] == ["weaker:", "mode", "id1", "enforce", "->", "testing"]
    done = await operator.run("policy", "history", "good.test", "--weaker")
    assert len(done.rows) == 2


async def test_since(operator: Operator) -> None:
    """Only what happened within the time is listed."""
    done = await operator.run("policy", "history", "--weaker", "--since", "7d")
    assert [row[0] for row in done.rows[1:]] == ["good.test"]


async def test_for_programs(operator: Operator) -> None:
    """`--json` prints one object per line."""
    done = await operator.run("policy", "history", "good.test", "--json")
    events = [json.loads(line) for line in done.out.splitlines()]
    assert [each["event"] for each in events] == ["accepted", "weaker"]
    done = await operator.run("policy", "history", "--since", "0", "--json")
    assert (done.code, done.out) == (0, "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["never.test"], "no policy was accepted"),
        (["never.test", "--weaker"], "nothing became weaker"),
        (["--since", "0"], "nothing became weaker"),
    ],
)
async def test_nothing(operator: Operator, words: list[str], said: str) -> None:
    """An empty list is not an error, and says so."""
    done = await operator.run("policy", "history", *words)
    assert (done.code, done.out) == (0, f"{said}\n")


async def test_a_long_list(daemon: ControlledDaemon, operator: Operator) -> None:
    """It has one header, and every row."""
    for n in range(1_200):
        event = a_weakening(f"d{n}.test", daemon.around.now)
        await daemon.records.put_weakenings(replace(event, domain=parse_domain(f"d{n}.test")))
    done = await operator.run("policy", "history", "--since", "1d")
    assert len(done.rows) == 1_202


async def test_terminal(daemon: ControlledDaemon, tmp_path: Path) -> None:
    """At 80 columns no line is longer, and what changed is complete, below its event."""
    domain = parse_domain(f"{'long-name.' * 12}test")
    servers = " ".join(f"mx{n}.partner-of-ours.example.net" for n in range(5))
    event = replace(a_weakening(at=daemon.around.now), domain=domain, policy_id="i" * 32)
    await daemon.records.put_weakenings(replace(event, kind=WeakeningKind.MX, after=servers))
    config = tmp_path / "config.yml"
    async with daemon.controlled(tmp_path) as path:
        config.write_text(json.dumps({"control": {"path": str(path)}}))
        with on_terminal("policy", "history", "--config", config) as terminal:
            assert await asyncio.to_thread(terminal.end) == 0
    lines = terminal.screen
    assert all(len(line) <= COLUMNS for line in lines), lines
    assert "    enforce -> testing" in lines
    assert " ".join(lines).split()[-8:] == f"mx enforce -> {servers}".split()


async def test_a_wrong_time(operator: Operator, capsys: pytest.CaptureFixture[str]) -> None:
    """A time that cannot be read is refused with an example."""
    with pytest.raises(SystemExit):
        await operator.run("policy", "history", "--since", "soon")
    assert "a time such as 30m, 12h, 7d" in capsys.readouterr().err


async def test_the_fleet_does_not_answer(daemon: ControlledDaemon, operator: Operator) -> None:
    """What other relays know is missing: a warning says so, and programs get what is known."""
    daemon.fleet = FakeFleet().fleet
    done = await operator.run("policy", "history", "good.test", "--json")
    events = [json.loads(line)["event"] for line in done.out.splitlines()]
    assert (done.code, events) == (0, ["accepted", "weaker"])
    assert done.err.startswith("postfix-mta-sts: warning: policies that only other relays have")
    assert "connection refused" in done.err
    done = await operator.run("policy", "history", "good.test", "--weaker")
    assert (len(done.rows), done.err) == (2, "")
