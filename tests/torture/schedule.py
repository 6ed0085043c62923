"""The schedule of a run: which fault begins and ends when, what is published, what is asked.

One seed gives one schedule. It is a list of actions with times, printed one a line, and can be
read back. Faults come in episodes; between them new domains are asked for at random moments.
"""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, TypeAlias

from tests.torture import domains
from tests.torture.events import Fault

WARM_UP: Final = 8.0
"""Seconds in which all known domains are asked for, before the first fault."""
COOL_DOWN: Final = 3.0
"""Seconds without a new fault at the end."""
CLIENTS: Final = 50
VICTIMS: Final = 16
"""Clients that also ask for hostile domains, and have to wait for them."""
ASKERS: Final = 32
"""The others up to this number also ask for new healthy ones, the rest only for known ones."""
NEW_RATE: Final = 5.0
"""New domains a second that have a right answer."""
HOSTILE_RATE: Final = 2.0
BURST: Final = 10
"""New domains that are asked for just before the network process is killed."""
FIRST_NEW: Final = 1000
"""The number of the first new domain; lower ones are known."""
HOUR: Final = 3600.0
YEAR: Final = 365.0 * 24 * HOUR
RECHECK: Final = HOUR + 110
"""Seconds after which every recheck is due."""
SETTINGS: Final = ("base", "long", "lax", "deferring")
"""Names of settings, see `daemon.SETTINGS`."""

START: Final = {Fault.DNS_SILENT: 7.0, Fault.DNS_DOWN: 2.0, Fault.DNS_SERVFAIL: 2.0}
"""Seconds that the daemon needs to start in an outage: with DANE it first asks the DNS for 5 s."""

_OUTAGES: Final = tuple(START)
_LINE = re.compile(r"(\d+\.\d+) ([a-z-]+) ?(.*)")


@dataclass(frozen=True, slots=True)
class Action:
    """One line of the schedule."""

    at: float
    """Seconds from the start."""
    what: str
    """`begin`, `end`, `kill-daemon`, `start-daemon`, `kill-network`, `stop-network`,
    `continue-network`, `clock`, `reload`, `renew`, `hold`, `ask`; or `episode`, only a name."""
    detail: str = ""
    """A fault, seconds, a domain, or a client and a domain."""

    def __str__(self) -> str:
        return f"{self.at:.3f} {self.what} {self.detail}".rstrip()


Add: TypeAlias = Callable[..., None]
"""Adds an action: seconds from the start of the episode, what, detail."""
Episode: TypeAlias = Callable[[Random, Add], float]
"""Adds the actions of an episode; returns its length in seconds."""


def build(
    seed: int, seconds: float, only: Iterable[str] = (), *, hostile: bool = True
) -> list[Action]:
    """The schedule for a seed; `only`: these episodes, in this order, again and again.

    Without `hostile` no hostile domain is asked for.
    """
    actions = [*_episodes(generator(seed, "faults"), seconds, list(only))]
    rng = generator(seed, "questions")
    actions += _questions(rng, seconds, NEW_RATE, domains.HEALTHY, (VICTIMS, ASKERS))
    if hostile:
        rng = generator(seed, "hostile questions")
        actions += _questions(rng, seconds, HOSTILE_RATE, domains.HOSTILE, (0, VICTIMS))
    if any(action.what == "hold" for action in actions):
        actions += _tarpits_known()
    return sorted(actions, key=lambda action: action.at)


def generator(seed: int, name: str) -> Random:
    """The random numbers for one use."""
    return Random(f"{seed} {name}")  # noqa: S311 (no secret)


def parse(text: str) -> list[Action]:
    """Read a printed schedule; lines that are no action are left out."""
    matches = map(_LINE.fullmatch, text.splitlines())
    return [Action(float(m[1]), m[2], m[3]) for m in matches if m]


def _episodes(rng: Random, seconds: float, only: list[str]) -> Iterator[Action]:
    at = WARM_UP
    waiting: list[str] = []
    while True:
        if not waiting:
            waiting = only[::-1] or _shuffled(rng)
        name = waiting.pop()
        found: list[Action] = [Action(at, "episode", name)]

        def add(after: float, what: str, detail: object = "") -> None:
            found.append(Action(at + after, what, str(detail)))  # noqa: B023 (called in this round)

        length = EPISODES[name](rng, add)
        if at + length > seconds - COOL_DOWN:
            return
        yield from found
        at += length


def _shuffled(rng: Random) -> list[str]:
    """Each episode once; after each third `update`, which finds what is stale in a calm time."""
    names = [name for name in EPISODES if name != "update"]
    rng.shuffle(names)
    for place in range(len(names) - len(names) % 3, 0, -3):
        names.insert(place, "update")
    return names


def _questions(
    rng: Random, seconds: float, rate: float, kinds: Sequence[str], clients: tuple[int, int]
) -> Iterator[Action]:
    """Look-ups of new domains of these kinds at random times, by random clients of a range."""
    at = 1.0
    for number in itertools.count(FIRST_NEW):
        at += rng.expovariate(rate)
        if at > seconds - COOL_DOWN:
            return
        domain = domains.name(rng.choice(kinds), number)
        yield Action(at, "ask", f"{rng.randrange(*clients)} {domain}")


def _tarpits_known() -> Iterator[Action]:
    """Ask for all tarpits while they still have a good Policy Host."""
    for number in range(domains.TARPITS):
        at = 1.0 + 6 * number / domains.TARPITS
        yield Action(at, "ask", f"{tarpit_client(number)} {domains.name('tarpit', number)}")


def tarpit_client(number: int) -> int:
    """The client that asks for a tarpit."""
    return VICTIMS + number % (ASKERS - VICTIMS)


def _lasting(*faults: Fault, shortest: float = 5.0, longest: float = 9.0) -> Episode:
    """An episode in which one of these faults lasts for a while."""

    def episode(rng: Random, add: Add) -> float:
        fault, length = rng.choice(faults), rng.uniform(shortest, longest)
        add(0, "begin", fault)
        add(length, "end", fault)
        return length + rng.uniform(1.5, 3)

    return episode


def _network_killed(rng: Random, add: Add) -> float:
    """Kill it in the middle of look-ups; what they ask for is asked for again afterwards."""
    at, asked = 0.5, list[str]()
    for _ in range(rng.randint(1, 3)):
        for _ in range(BURST):
            domain = domains.name("plain", rng.randrange(10_000, 100_000))
            asked.append(f"{rng.randrange(VICTIMS, ASKERS)} {domain}")
            add(at - rng.uniform(0.0, 0.04), "ask", asked[-1])
        add(at, "kill-network")
        at += rng.uniform(0.3, 2.5)
    for question in asked:
        add(at + 9, "ask", question)
    return at + 11


def _network_stopped(rng: Random, add: Add) -> float:
    length = rng.choice((rng.uniform(3, 8), rng.uniform(3, 8), 36.0))
    add(0, "stop-network")
    add(length, "continue-network")
    return length + 4


def _reload(rng: Random, add: Add) -> float:
    """Reload with other settings while the DNS is silent."""
    fault = rng.choice(_OUTAGES)
    add(0, "begin", fault)
    for after in (1.0, 2.0):
        add(after, "reload", rng.choice(SETTINGS))
    add(rng.uniform(7, 10), "end", fault)
    add(10, "reload", "base")
    return 12


def _restart(rng: Random, add: Add) -> float:
    """Kill the daemon in an outage of the DNS."""
    fault = rng.choice(_OUTAGES)
    add(0, "begin", fault)
    add(rng.uniform(0, 2), "kill-daemon")
    add(2.1, "start-daemon")
    end = 2.1 + START[fault] + 4
    add(end, "end", fault)
    return end + 2


def _slow_start(rng: Random, add: Add) -> float:
    """The same, and the disk is slow."""
    fault = rng.choice(_OUTAGES)
    add(0, "begin", fault)
    add(0.5, "kill-daemon")
    add(0.6, "begin", Fault.STORE_SLOW)
    add(0.7, "start-daemon")
    end = 0.7 + START[fault] + rng.uniform(5, 6)
    add(end, "end", Fault.STORE_SLOW)
    add(end + 1, "end", fault)
    return end + 3


def _wrong_clock_at_start(rng: Random, add: Add) -> float:
    """A start with a clock that is far ahead, and another start with the right one."""
    fault, ahead = rng.choice(_OUTAGES), rng.uniform(1, 5) * YEAR
    add(0, "begin", fault)
    add(0.5, "kill-daemon")
    add(0.6, "clock", ahead)
    add(0.7, "start-daemon")
    second = 0.7 + START[fault] + 3
    add(second, "kill-daemon")
    add(second + 0.1, "clock", -ahead)
    add(second + 0.2, "start-daemon")
    end = second + START[fault] + 3
    add(end, "end", fault)
    return end + 2


def _clock_trip(rng: Random, add: Add) -> float:
    """The clock is wrong for some seconds, perhaps while the DNS is silent."""
    away = rng.choice((-YEAR, YEAR, 5 * YEAR, -HOUR, 30 * HOUR))
    silent = rng.random() < 0.5
    if silent:
        add(0, "begin", Fault.DNS_SILENT)
    add(0.5, "clock", away)
    back = rng.uniform(3, 6)
    add(back, "clock", -away)
    if silent:
        add(back + 1, "end", Fault.DNS_SILENT)
    return back + 3


def _expiry(rng: Random, add: Add) -> float:
    """Short policies reach the end of their life in an outage."""
    fault = rng.choice((Fault.DNS_SILENT, Fault.DNS_SERVFAIL, Fault.HOSTS_503))
    add(0, "begin", fault)
    add(1, "clock", 3 * HOUR)
    add(rng.uniform(5, 7), "end", fault)
    return 9


def _old_verdicts(rng: Random, add: Add) -> float:
    """DANE verdicts are looked up again in an outage: after 18 of their 24 hours."""
    fault = rng.choice(_OUTAGES)
    add(0, "begin", fault)
    add(1, "clock", 19 * HOUR)
    end = rng.uniform(8, 10)
    add(end, "end", fault)
    return end + 2


def _update(rng: Random, add: Add) -> float:
    """Half of the policies change; an hour passes; nothing disturbs."""
    for kind in ("plain", "short", "dane", "none"):
        for number in range(domains.KNOWN[kind]):
            if rng.random() < 0.5:
                add(4.5, "renew", domains.name(kind, number))
    add(5, "clock", RECHECK)
    return 18


def _tarpits(rng: Random, add: Add) -> float:
    """More domains than rechecks may be under way hold theirs; others must not wait for them."""
    for number in range(domains.TARPITS):
        domain = domains.name("tarpit", number)
        add(0.5, "hold", domain)
        add(1.1 + 2.0 * number / domains.TARPITS, "ask", f"{tarpit_client(number)} {domain}")
    add(1, "clock", RECHECK)
    return 3.5 + _update(rng, lambda after, *words: add(3.5 + after, *words))


EPISODES: Final[Mapping[str, Episode]] = {
    "dns-outage": _lasting(*_OUTAGES),
    "lies": _lasting(Fault.DNS_LYING),
    "hosts-outage": _lasting(Fault.HOSTS_SILENT, Fault.HOSTS_503, Fault.HOSTS_RESET),
    "network-killed": _network_killed,
    "network-stopped": _network_stopped,
    "full-disk": _lasting(Fault.STORE_FULL, Fault.STORE_READ_ONLY),
    "broken-disk": _lasting(Fault.STORE_BROKEN),
    "slow-disk": _lasting(Fault.STORE_SLOW),
    "stuck-log": _lasting(Fault.LOG_STUCK, shortest=6, longest=10),
    "reload": _reload,
    "restart": _restart,
    "slow-start": _slow_start,
    "wrong-clock-at-start": _wrong_clock_at_start,
    "clock-trip": _clock_trip,
    "expiry": _expiry,
    "old-verdicts": _old_verdicts,
    "update": _update,
    "tarpits": _tarpits,
}
