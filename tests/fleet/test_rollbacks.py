"""A store that goes back: old rows, weaker rows, a whole old dump, old exceptions.

All rows are validly signed, some with a key that was stolen: they cost a fetch, never protection.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import Final

import pytest

from postfix_mta_sts.store.fleet.engine import Kind, Name
from postfix_mta_sts.store.fleet.envelope import open_record, order_of
from tests.fleet.forger import Forger
from tests.fleet.load import compile_load, load
from tests.fleet.relays import Fleet, Relay, secure
from tests.fleet.stores import PREFIX, Rows, SharedStore
from tests.fleet.world import MAX_AGE, World
from tests.support.daemons import until
from tests.support.policy_host import policy_text

pytestmark = pytest.mark.timeout(300)

POLLED: Final = 5.0
"""Seconds in which a change of the exceptions is in force on all relays; issue 18 (5)."""
HOUR: Final = 3600 * 1_000_000
"""In microseconds."""
ID: Final = "its id is id1, and the record names id2"
MX: Final = "it names other mail servers than the policy in force"
LIFE: Final = "its life is shorter than that of the policy in force"


def _row(
    mx: Sequence[str], mode: str = "enforce", max_age: int = MAX_AGE, policy_id: str = "id2"
) -> Callable[[Forger], bytes]:
    """A row that is dated now; `%` in `mx` is the domain, whose record names id2."""

    def row(forger: Forger) -> bytes:
        names = [each.replace("%", forger.name.key) for each in mx]
        return forger.signed(forger.body(policy_text(mode, names, max_age), policy_id))

    return row


WEAKER: Final[Mapping[str, tuple[Callable[[Forger], bytes], str]]] = {
    "mode none": (_row(["mx2.%"], "none"), "its mode is none"),
    "mode testing": (_row(["mx2.%"], "testing"), "its mode is testing"),
    "old mx, new id": (_row(["mx1.%"]), MX),
    "old mx, new id, longer life": (_row(["mx1.%"], max_age=2 * MAX_AGE), MX),
    "one mx more": (_row(["mx2.%", "mx.evil.test"]), MX),
    "a shorter life": (_row(["mx2.%"], max_age=MAX_AGE - 1), LIFE),
    "the old policy, dated now": (_row(["mx1.%"], policy_id="id1"), ID),
}
"""Rows, and why a relay refuses them that knows mx2 and id2."""
PUT_BACK: Final = "as it was"


@pytest.fixture(scope="module")
def relays(fleet: Fleet) -> list[Relay]:
    """Two relays."""
    return fleet.start_all("a", "b")


async def test_a_rollback_of_rows_weakens_nothing(
    fleet: Fleet, world: World, store: SharedStore
) -> None:
    """Rows that are old, weaker or re-dated: a relay that must fetch sees them, and is `secure`."""
    relays = [fleet.start(name, changes={"log": {"level": "debug"}}) for name in ("c", "d")]
    domains = dict(zip([*WEAKER, PUT_BACK], world.published(len(WEAKER) + 1), strict=True))
    all_domains = list(domains.values())
    await relays[0].answers(all_domains)
    await store.has("policy", all_domains)
    old = await store.rows()
    await _renew(relays, all_domains, world, store)
    rows = await _weaker(store, domains, old)
    expected = {domain: secure(domain, "mx2") for domain in all_domains}
    reasons = {domains[name]: reason for name, (_, reason) in WEAKER.items()}
    reasons[domains[PUT_BACK]] = ID
    for relay in relays:  # a live one would give the store its newer policy, and so mend it
        assert await relay.answers(all_domains) == expected
        relay.kill()
        relay.age_policies()
    await store.write(rows)
    for relay, outage in zip(relays, (["hosts"], ["hosts", "names"]), strict=True):
        with world.without(*outage):
            relay.start()
            relay.wait_for_network_process()
            assert await relay.answers(all_domains) == expected
            for domain, reason in reasons.items():
                why = reason if "names" not in outage else reason.replace(ID, MX)
                relay.log.wait(rf"{domain}: shared policy not used.*{why}")
                await until(partial(_failure, relay, domain))
            assert await relay.answers(all_domains) == expected
            assert {name: row for name, row in (await store.rows()).items() if name in rows} == rows
        relay.kill()
    for relay in relays:
        relay.start()
        relay.refresh(*all_domains)
        assert await relay.answers(all_domains) == expected
    fresh = fleet.start("fresh")
    assert await fresh.answers(all_domains) == expected
    for relay in (*relays, fresh):
        relay.kill()


async def _weaker(store: SharedStore, domains: Mapping[str, str], old: Rows) -> Rows:
    """The rows of an attacker."""
    now = await store.now()
    rows = {Name(Kind.POLICY, domains[PUT_BACK]): old[Name(Kind.POLICY, domains[PUT_BACK])]}
    for name, (make, _) in WEAKER.items():
        forger = Forger(store, domains[name], now)
        rows[forger.name] = make(forger)
    return rows


def _failure(relay: Relay, domain: str) -> bool:
    """Whether the last attempt of a relay failed."""
    return relay.ask_control("GET", "policies", domain)["failure"] is not None


async def test_a_dump_of_an_hour_ago_weakens_nothing(
    fleet: Fleet, relays: list[Relay], world: World, store: SharedStore
) -> None:
    """The whole store goes back under load: no relay answers by an older policy, also later."""
    compile_load()
    known = world.published(30)
    for relay in relays:
        await relay.answers(known)
    await store.has("policy", known)
    dump = await store.rows()
    await _renew(relays, known, world, store)
    fresh = world.published(400)
    async with load(relays, known, fresh, 4.0, mx="mx2") as seen:
        await asyncio.sleep(1)
        await store.clear()
        await store.write(_hour_older(dump, store))
    assert {reply.text for reply in seen.new if reply.text != secure(reply.domain)} == set()
    assert all(not (each.wrong or each.errors) for each in seen.remembered.values())
    expected = {domain: secure(domain, "mx2") for domain in known}
    empty = fleet.start("empty")
    for relay in [*relays, empty]:
        assert await relay.answers(known) == expected
    empty.kill()
    for relay in relays:
        relay.kill()
        relay.start()
        assert await relay.answers(known) == expected
    await store.changed("policy", known, b"id2")
    for relay in relays:
        relay.reload({"log": {"level": "debug"}})
        relay.kill()
        relay.age_policies()
    await store.write(dump)
    with world.without("hosts"):
        for relay in relays:
            relay.start()
            relay.wait_for_network_process()
            assert await relay.answers(known) == expected
            for domain in known:
                relay.log.wait(rf"{domain}: shared policy not used.*{ID}")
                await until(partial(_failure, relay, domain))
            assert await relay.answers(known) == expected
            relay.reload({})


def _hour_older(rows: Rows, store: SharedStore) -> Rows:
    """The same policies, fetched an hour earlier; other rows stay as they are."""
    older: dict[Name, bytes] = {}
    for name, row in rows.items():
        opened = open_record(PREFIX, name, row, store.keyring)
        order = opened.order - HOUR if name.kind is Kind.POLICY else opened.order
        older |= store.sealed(name.kind, name.key, order, opened.body)
    return older


async def _renew(relays: list[Relay], domains: list[str], world: World, store: SharedStore) -> None:
    """Have all domains change their policies, and all relays know it."""
    world.publish(domains, mx=("mx2.%",), policy_id="id2")
    for relay in relays:
        await asyncio.to_thread(relay.refresh, *domains)
        assert await relay.answers(domains) == {each: secure(each, "mx2") for each in domains}
    await store.changed("policy", domains, b"id2")


async def test_a_rollback_of_the_exceptions_changes_nothing(
    relays: list[Relay], world: World, store: SharedStore
) -> None:
    """An older document of exceptions is refused with a warning, and the newer one put back.

    Neither the exceptions of a relay nor its answers change meanwhile.
    """
    first, second = relays
    domains = [f"{name}.{world.domains()[0]}" for name in ("one", "two", "three")]
    _add(first, domains[0])
    _add(first, domains[1])
    await _have(relays, set(domains[:2]))
    old = {name: row for name, row in (await store.rows()).items() if name.kind is Kind.EXCEPTIONS}
    assert second.command("exception", "remove", domains[0]).returncode == 0
    _add(second, domains[2])
    await _have(relays, set(domains[1:]))
    starts = {relay: relay.log.mark for relay in relays}
    (name,) = old
    async with _unchanged(relays, domains):
        await store.write(old)
        before = order_of(old[name]) or 0
        await store.until(lambda rows: (order_of(rows[name]) or 0) > before)
    warning = "older exceptions of the fleet refused"
    await until(
        lambda: any(warning in line for relay in relays for line in relay.log.since(starts[relay]))
    )


async def test_a_store_without_the_exceptions_changes_nothing(
    relays: list[Relay], store: SharedStore
) -> None:
    """All rows vanish: the exceptions stay, and are written again."""
    _add(relays[0], "four.test")
    await _have(relays, {*_exceptions(relays[0]), "four.test"})
    async with _unchanged(relays, ["four.test"]):
        await store.clear()
        await asyncio.sleep(POLLED)
        await store.has("exceptions", ["all"])


@contextlib.asynccontextmanager
async def _unchanged(relays: Sequence[Relay], domains: Sequence[str]) -> AsyncIterator[None]:
    """The exceptions and the answers of all relays stay as they are while the context is open."""

    async def sample() -> Sequence[object]:
        return [(_exceptions(relay), await relay.answers(domains)) for relay in relays]

    async def watch() -> None:
        while True:
            assert await sample() == before
            await asyncio.sleep(0.02)

    before = await sample()
    watching = asyncio.create_task(watch(), name="watch")
    try:
        yield
        assert await sample() == before
        if watching.done():
            await watching
    finally:
        watching.cancel()


def _add(relay: Relay, domain: str) -> None:
    words = ("--use", "encrypt", "--for", "2d", "--reason", "a test")
    done = relay.command("exception", "add", domain, *words)
    assert done.returncode == 0, done.stderr


def _exceptions(relay: Relay) -> set[str]:
    return {each["scope"] for each in relay.ask_control("GET", "exceptions")["exceptions"]}


async def _have(relays: list[Relay], domains: set[str]) -> None:
    """Wait until all relays have these exceptions, and no others: they have so in time."""
    async with asyncio.timeout(POLLED):
        for relay in relays:
            while await asyncio.to_thread(_exceptions, relay) != domains:  # noqa: ASYNC110 (no event)
                await asyncio.sleep(0.05)
