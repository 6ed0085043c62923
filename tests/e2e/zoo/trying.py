"""Sends mail without the daemon and with the daemon in a trial, and reads the trial's report."""

import json
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from tests.e2e.daemon import Daemon
from tests.e2e.mta import Mta
from tests.e2e.wires import SOCKETMAP_TCP, policy_maps
from tests.e2e.world import World
from tests.e2e.zoo.animal import Animal
from tests.e2e.zoo.asking import Oracle
from tests.e2e.zoo.keeping import (
    Place,
    Seen,
    break_down,
    by_parameters,
    configure,
    deliver,
    settle,
)
from tests.e2e.zoo.table import PLAIN, TLSRPT

PORT: Final = 8471
"""Of the daemon in a trial."""
ENFORCED: Final = "enforced"
"""A map of this daemon that is not on trial."""
MAPS: Final[Mapping[str, object]] = {ENFORCED: {"trial": False}}
HELD: Final = "held"

_AT_ONCE: Final = 16
_BATCH: Final = 50
"""Messages at once: policies are fetched meanwhile, and Postfix waits 1 s for the DNS."""
_CHECKS: Final = 300
"""Seconds for the checks of all domains, of which some are silent for a minute."""

Report = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Trial:
    """What happened in a trial, by the names of the domains."""

    without: Mapping[str, Seen]
    """Without the daemon."""
    seen: Mapping[str, Seen]
    replies: Mapping[str, frozenset[str]]
    """In the maps that are on trial; of domains for which Postfix has asked, as all that follow."""
    enforced: Mapping[str, str]
    """In the one that is not."""
    afterwards: Mapping[str, str]
    """The reply once the trial is off."""
    report: Mapping[str, Report]
    """The entries of the report."""
    sentence: str
    """The one at its end."""


def hold_trial(
    world: World, mta: Mta, daemon: Daemon, commands: Oracle, animals: Sequence[Animal]
) -> Trial:
    """Send mail to all domains twice, the second time by a daemon that is in a trial.

    Its trial ends with that.
    """
    without: dict[str, Seen] = {}
    seen: dict[str, Seen] = {}
    asked: list[Place] = []
    replies: dict[str, frozenset[str]] = {}
    enforced: dict[str, str] = {}
    for group in by_parameters(animals):
        without |= _send(world, mta, "", [settle(world, each) for each in group])
    maps = policy_maps(SOCKETMAP_TCP, PORT, PLAIN)
    for group in by_parameters(animals):
        places = [settle(world, each) for each in group]
        for place in places:
            break_down(world, place, partial(_ask, daemon, ENFORCED))
        mark = daemon.log.mark
        seen |= _send(world, mta, maps, places, daemon)
        here = _asked_for(daemon, places, mark, world.fresh("last"))
        enforced |= _ask_all(daemon, ENFORCED, here)
        _await_checks(daemon, commands, here)
        plain, tlsrpt = (_ask_all(daemon, name, here) for name in (PLAIN, TLSRPT))
        replies |= {name: frozenset({plain[name], tlsrpt[name]}) for name in plain}
        asked += here
    said = _report(commands)
    daemon.reload({"trial": False})
    names = {place.domain: place.animal.name for place in asked}
    return Trial(
        without,
        seen,
        replies,
        enforced,
        _ask_all(daemon, PLAIN, asked),
        {names[each["domain"]]: each for each in said["domains"] if each["domain"] in names},
        said["summary"]["sentence"],
    )


def _send(
    world: World, mta: Mta, maps: str, places: Sequence[Place], daemon: Daemon | None = None
) -> Mapping[str, Seen]:
    """Send a message to domains with the same parameters: name → what happened."""
    configure(mta, maps, places)
    if daemon:
        daemon.reload({})  # so that its checks are by this main.cf
    batches = (places[first : first + _BATCH] for first in range(0, len(places), _BATCH))
    return {name: seen for batch in batches for name, seen in deliver(mta, batch).items()}


def _asked_for(daemon: Daemon, places: Sequence[Place], mark: int, last: str) -> list[Place]:
    """Return those for which Postfix has asked: not if another table decides, or the DNS fails.

    `last` is any other domain: its line in the log comes after all of theirs.
    """
    _ask(daemon, PLAIN, last)
    daemon.log.wait(f" {last}: look-up ", mark)
    log = "\n".join(daemon.log.since(mark))
    return [place for place in places if f" {place.domain}: look-up map={PLAIN} " in log]


def _ask(daemon: Daemon, map_name: str, key: str) -> str:
    return daemon.ask(PORT, f"{map_name} {key}")


def _ask_all(daemon: Daemon, map_name: str, places: Sequence[Place]) -> dict[str, str]:
    """Ask for each domain as Postfix does: name → reply."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        replies = pool.map(partial(_ask, daemon, map_name), (place.next_hop for place in places))
        return {place.animal.name: reply for place, reply in zip(places, replies, strict=True)}


def _await_checks(daemon: Daemon, commands: Oracle, places: Sequence[Place]) -> None:
    """Wait until those domains whose policy is known are checked."""
    domains = {place.domain for place in places}
    while True:
        listed = _report(commands)["domains"]
        waiting = [e["domain"] for e in listed if e["outcome"] == "not-checked"]
        if domains.isdisjoint(waiting):
            return
        for domain in domains.intersection(waiting):
            pattern = rf" {re.escape(domain)}: mail servers checked "
            daemon.log.wait(pattern, seconds=_CHECKS)


def _report(commands: Oracle) -> Any:  # noqa: ANN401 - JSON has any shape
    done = commands.run("trial", "report", "--json")
    assert done.output.startswith("{"), done
    return json.loads(done.output)
