"""Relays of a fleet whose clocks jump, whose daemons restart, and whose store is put back.

The steps are any; real parts do all the work, except engine, network and clocks.
"""

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final, TypeAlias

from hypothesis import given, settings
from hypothesis import strategies as st

from postfix_mta_sts.daemon.fleet.fetches import Fetches
from postfix_mta_sts.daemon.fleet.handover import Handover
from postfix_mta_sts.daemon.fleet.outbox import Outbox
from postfix_mta_sts.daemon.fleet.policies import FleetPolicies
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import DnsFailureError, NoRecordError, StatusError
from postfix_mta_sts.mtasts.lifecycle import DAY, HOUR, State, live
from postfix_mta_sts.mtasts.policy import Mode, Policy
from postfix_mta_sts.resolver.cache import Limits
from postfix_mta_sts.resolver.resolver import Resolver
from postfix_mta_sts.resolver.sources import Sources
from postfix_mta_sts.store.fleet.bodies import shared_policy
from postfix_mta_sts.store.fleet.client import FleetClient
from postfix_mta_sts.store.fleet.clocks import Clocks
from postfix_mta_sts.store.fleet.engine import SECOND, Kind, Name
from postfix_mta_sts.store.fleet.envelope import open_record
from postfix_mta_sts.store.sqlite.store import SqliteStore
from postfix_mta_sts.values import replace
from tests.support.fleet_clients import KEYS, SETTINGS, ManualTime, settle
from tests.support.fleet_engine import MemoryDatabase
from tests.support.resolvers import find_state, wait_for_end
from tests.support.surroundings import GOOD, Surroundings

RECORD: Final = Name(Kind.POLICY, GOOD)
RELAYS: Final = 3
EPSILON: Final = 1.0
"""Seconds of rounding."""


class World:
    """What is true: the time, the domain, and the store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = MemoryDatabase()
        self.time = ManualTime(self.database)
        self.domain = Surroundings()
        self.served: dict[str, float] = {}
        """When the Policy Host served a text to the fleet last."""
        self.dump = dict(self.database.entries)
        self._version = 0
        self.publish("enforce")

    @property
    def now(self) -> float:
        """The true time, which the store has."""
        return self.time.monotonic()

    def publish(self, mode: str) -> None:
        """Publish another policy."""
        self._version += 1
        id_, mx = f"id{self._version}", f"mx{self._version}.good.test"
        self.domain.publish(policy_id=id_, mode=mode, mx=mx)


class Relay:
    """A relay: in the fleet, or alone (`name` empty)."""

    def __init__(self, world: World, path: str, name: str = "") -> None:
        self.world = world
        self.ahead = 0.0
        self.is_right = True
        """Whether its clock was never set."""
        self.was_ahead = False
        self.fetched_at = 0.0
        """When it has fetched a policy last, in true time."""
        self._path = world.folder / path
        self._name = name
        self._stack = AsyncExitStack()

    @property
    def now(self) -> float:
        """Its clock."""
        return self.world.now + self.ahead

    async def start(self) -> None:
        """Start the daemon."""
        self.store = await SqliteStore.open(self._path, clock=lambda: self.now)
        self._stack.push_async_callback(self.store.close)
        sources = Sources(
            self.world.domain.sources().discover,
            self._fetch,
            self.store,
            lambda: self.now,
            lambda: 0.0,
            read_patience=30.0,
        )
        self.resolver = Resolver(sources, lookup_timeout=30, limits=Limits(100, 2**30))
        self._stack.push_async_callback(self.resolver.close)
        if self._name:
            await self._join()

    async def _fetch(self, domain: Domain, on_addresses: Callable[[], None]) -> Policy:
        policy = await self.world.domain.sources().fetch(domain, on_addresses)
        self.fetched_at = self.world.now
        if self._name:
            self.world.served[policy.text] = self.world.now
        return policy

    async def _join(self) -> None:
        time = self.world.time
        clocks = Clocks(time.monotonic, lambda: self.now, time.sleep)
        client = FleetClient(replace(SETTINGS, name=self._name), self.world.database.open, clocks)
        self._stack.push_async_callback(client.close)
        fetches = Fetches(lambda: self.now, lambda: self.world.now)
        outbox = Outbox(client.answer, fetches, lambda: None)
        self._stack.push_async_callback(outbox.close)
        self.resolver.use_fleet(FleetPolicies(client.answer, outbox, 30.0, outbox.put))
        self.handover = Handover(
            client.answer, self.store, fetches, lambda: self.now, lambda _: asyncio.sleep(0)
        )

    async def stop(self) -> None:
        """Stop the daemon."""
        await wait_for_end(self.resolver)
        await settle()
        await self._stack.aclose()

    async def set_clock(self, seconds: float) -> None:
        """Set the clock; the daemon notices it."""
        self.ahead += seconds
        self.is_right = False
        self.was_ahead |= self.ahead > 0
        await self.resolver.correct_times()

    async def look_up(self) -> State | None:
        """What a look-up is answered by, after what it starts in the background."""
        await find_state(self.resolver, GOOD)
        await wait_for_end(self.resolver)
        await settle()
        return live(await find_state(self.resolver, GOOD), self.now)


Step: TypeAlias = tuple[str, int | float | str]
_ANY_RELAY: Final = st.integers(0, RELAYS - 1)
_JUMPS: Final = st.sampled_from([-5 * DAY, -HOUR, HOUR, 5 * DAY])
STEPS: Final = st.one_of(
    st.tuples(st.just("pass"), st.sampled_from([1.0, 400.0, HOUR, DAY + 1, 3 * DAY])),
    st.tuples(st.sampled_from(["look", "renew", "restart", "hand over"]), _ANY_RELAY),
    st.tuples(st.just("publish"), st.sampled_from(["enforce", "enforce", "testing"])),
    st.tuples(st.just("record"), st.sampled_from(["there", "absent", "silent"])),
    st.tuples(st.just("host"), st.sampled_from(["dead", "alive"])),
    st.tuples(st.sampled_from(["dump", "restore", "flush"]), st.just(0)),
    *(st.tuples(st.just(f"jump {number}"), _JUMPS) for number in range(RELAYS)),
)


class Course:
    """Some relays of a fleet, and what happens to them."""

    def __init__(self, folder: Path) -> None:
        self.world = World(folder)
        self.relays = [Relay(self.world, f"{n}.db", f"mx{n}") for n in range(RELAYS)]
        self.alone = [Relay(self.world, f"alone{n}.db") for n in range(RELAYS)]
        """To each relay one without a fleet, to which the same happens."""
        self._published = self.world.domain.records[GOOD], self.world.domain.policies[GOOD]

    async def do(self, step: Step) -> None:
        """Do one thing, and see what the fleet knows afterwards."""
        what, value = step
        match what, value:
            case "pass", float():
                await self.world.time.advance(value)
            case "publish", str():
                self.world.publish(value)
                self._published = self.world.domain.records[GOOD], self.world.domain.policies[GOOD]
            case "record" | "host", str():
                self._break(value)
            case "dump" | "restore" | "flush", _:
                self._store(what)
            case _, int():
                await self._act(what, self.relays[value], self.alone[value])
            case _, float():
                for relays in (self.relays, self.alone):
                    await relays[int(what[-1])].set_clock(value)
        self.check()

    def _break(self, how: str) -> None:
        domain = self.world.domain
        record, policy = self._published
        match how:
            case "there":
                domain.records[GOOD] = record
            case "absent":
                domain.records[GOOD] = NoRecordError("NXDOMAIN")
            case "silent":
                domain.records[GOOD] = DnsFailureError("SERVFAIL")
            case "dead":
                domain.policies[GOOD] = StatusError("HTTP 503")
            case "alive":
                domain.policies[GOOD] = policy

    def _store(self, what: str) -> None:
        database = self.world.database
        if what == "dump":
            self.world.dump = dict(database.entries)
        else:
            database.entries = dict(self.world.dump) if what == "restore" else {}

    async def _act(self, what: str, relay: Relay, alone: Relay) -> None:
        match what:
            case "look":
                self.compare(relay, await relay.look_up(), alone, await alone.look_up())
            case "renew":
                await relay.resolver.renew(GOOD)
                await alone.resolver.renew(GOOD)
            case "hand over":
                relay.handover.want_all()
                await relay.handover.look_once()
            case "restart" if not relay.was_ahead:  # else nobody knows what its rows are worth
                for each in (relay, alone):
                    await each.stop()
                    await each.start()
        await settle()

    def compare(
        self, relay: Relay, state: State | None, alone: Relay, state_alone: State | None
    ) -> None:
        """No policy lives too long, and none is missing; see the tests."""
        if relay.is_right and state and state.policy:
            end = self.world.served[state.policy.text] + state.policy.max_age
            assert self.world.now < end + EPSILON
        if protects(state_alone) and relay.fetched_at < alone.fetched_at:
            assert protects(state)

    def check(self) -> None:
        """No policy in the store is younger than its last fetch."""
        entry = self.world.database.entries.get(RECORD)
        if entry is None:
            return
        opened = open_record(SETTINGS.prefix, RECORD, entry.record, KEYS)
        found = shared_policy(GOOD, opened, opened.order)
        assert found
        assert opened.order / SECOND < self.world.served[found.policy.text] + EPSILON


@settings(max_examples=20)  # each runs six daemons, with files
@given(st.lists(STEPS, min_size=4, max_size=25))
def test_no_policy_outlives_its_fetch(steps: Sequence[Step]) -> None:
    """Whatever the clocks of relays do, none is believed longer than max_age after its last fetch.

    Except by a relay whose own clock was set. And a relay enforces what it would enforce without a
    fleet, unless it has fetched something later.
    """

    async def course() -> None:
        with tempfile.TemporaryDirectory() as folder:
            world = Course(Path(folder))
            relays = [*world.relays, *world.alone]
            for relay in relays:
                await relay.start()
            try:
                for step in steps:
                    await world.do(step)
            finally:
                for relay in relays:
                    await relay.stop()

    asyncio.run(course())


def protects(state: State | None) -> bool:
    """Whether mail is secure by this."""
    return bool(state and state.policy and state.policy.mode is Mode.ENFORCE)
