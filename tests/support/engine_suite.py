"""What every engine of a shared store must do, as rules that run on any of them.

A test module makes a `StoreUnderTest` for its engine, with a store that is empty, and runs each of
`RULES` on it:

    @pytest.mark.parametrize("rule", RULES, ids=name_of)
    async def test_rule(rule: Rule) -> None:
        async with my_store() as store:
            await rule(store)

A rule that must wait for a lease waits by `pass_time`: some seconds on a real engine.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.store.fleet.engine import FUTURE, LEASE, LIMITS, Engine, Kind, Name

MINUTE: Final = 60_000_000
DOMAIN: Final = Domain("example.com")
POLICY: Final = Name(Kind.POLICY, DOMAIN)
_ATTEMPTS: Final = 10
"""Of a rule that a busy machine can spoil, because a lease lapses meanwhile."""


class StoreUnderTest(Protocol):
    """A store that is empty at first, for one rule."""

    async def open(self) -> Engine:
        """Connect one more relay; the store closes it in the end, if the rule does not."""

    async def pass_time(self, seconds: float) -> None:
        """Let the clock of the store go on."""


Rule = Callable[[StoreUnderTest], Awaitable[None]]


def name_of(rule: Rule) -> str:
    """The name of a rule, for the test's id."""
    return getattr(rule, "__name__", "").removeprefix("rule_")


def made(order: int, body: bytes = b"body", form: int = 1) -> bytes:
    """A record as an engine sees it: what counts is the order in its header."""
    return b"mta-sts %d 0123abcd %d %s\n%s" % (form, order, b"5" * 64, body)


async def _now(engine: Engine) -> int:
    return (await engine.read([])).now


async def _record(engine: Engine, name: Name) -> bytes | None:
    return (await engine.read([name])).records.get(name)


async def rule_a_record_is_read_as_it_was_put(store: StoreUnderTest) -> None:
    """Another relay reads the bytes that one has put, whatever they are."""
    one, other = await store.open(), await store.open()
    now = await _now(one)
    record = made(now, bytes(range(256)) + b"\r\n\0{}:$'\"\\%s")
    assert await one.put(POLICY, record, now, now + MINUTE)
    assert await _record(other, POLICY) == record


async def rule_the_clock_goes_on(store: StoreUnderTest) -> None:
    """Each read tells the time of the store, in microseconds, also one of nothing."""
    engine = await store.open()
    before = await engine.read([])
    await store.pass_time(0.05)
    after = await engine.read([POLICY])
    assert not before.records
    assert not after.records
    assert after.now - before.now >= 50_000
    assert before.now > 1_700_000_000_000_000


async def rule_many_records_are_read_at_once(store: StoreUnderTest) -> None:
    """A read of a hundred names, of several kinds, gives those that are there."""
    engine = await store.open()
    now = await _now(engine)
    names = [Name(Kind.POLICY, f"d{number}.example") for number in range(100)]
    there = names[::7]
    for number, name in enumerate(there):
        assert await engine.put(name, made(now, b"%d" % number), now, now + MINUTE)
    history = Name(Kind.HISTORY, "d0.example")
    assert await engine.put(history, made(now, b"history"), now, now + MINUTE)
    read = await engine.read([*names, history])
    expected = {name: made(now, b"%d" % number) for number, name in enumerate(there)}
    assert dict(read.records) == {**expected, history: made(now, b"history")}


async def rule_the_beginning_of_a_record(store: StoreUnderTest) -> None:
    """A read with a limit gives so many bytes of each record, and a shorter record whole."""
    engine = await store.open()
    now = await _now(engine)
    long, short = Name(Kind.EXCEPTIONS, "all"), Name(Kind.RELAY, "mx1")
    assert await engine.put(long, made(7, b"\0" * 200_000), 7, now + MINUTE)
    assert await engine.put(short, made(8), 8, now + MINUTE)
    names = [long, short, POLICY]
    for limit in (1, 90, 101, 5_000):
        read = await engine.read(names, limit)
        whole = {long: made(7, b"\0" * 200_000), short: made(8)}
        assert dict(read.records) == {name: whole[name][:limit] for name in whole}
        assert read.now >= now
    longest = (await engine.read(names, 10**9)).records
    assert dict(longest) == dict((await engine.read(names)).records)


async def rule_a_name_may_be_read_twice(store: StoreUnderTest) -> None:
    """The same name twice in one read is one record."""
    engine = await store.open()
    now = await _now(engine)
    assert await engine.put(POLICY, made(now), now, now + MINUTE)
    assert dict((await engine.read([POLICY, POLICY])).records) == {POLICY: made(now)}


async def rule_only_a_newer_record_replaces(store: StoreUnderTest) -> None:
    """Neither a lower nor the same order replaces a record; a higher one does."""
    engine = await store.open()
    now = await _now(engine)
    for kind in Kind:
        name = Name(kind, "example.com")
        assert await engine.put(name, made(1000, b"first"), 1000, now + MINUTE)
        assert not await engine.put(name, made(999, b"older"), 999, now + MINUTE)
        assert not await engine.put(name, made(1000, b"same"), 1000, now + MINUTE)
        assert await _record(engine, name) == made(1000, b"first")
        assert await engine.put(name, made(1001, b"newer"), 1001, now + MINUTE)
        assert await _record(engine, name) == made(1001, b"newer")


async def rule_orders_are_numbers(store: StoreUnderTest) -> None:
    """Orders are compared as numbers, exactly, up to 2**53 - 1."""
    engine = await store.open()
    now = await _now(engine)
    name = Name(Kind.CHECK, "example.com")
    for order in (0, 9, 10, 99, 100, 2**53 - 2, 2**53 - 1):
        assert await engine.put(name, made(order), order, now + MINUTE), order
        assert not await engine.put(name, made(order), order, now + MINUTE), order


async def rule_the_header_has_the_order(store: StoreUnderTest) -> None:
    """A record that is there counts with the order of its header, whatever it was put with."""
    engine = await store.open()
    now = await _now(engine)
    assert await engine.put(POLICY, made(50), 9000, now + MINUTE)
    assert not await engine.put(POLICY, made(50, b"x"), 50, now + MINUTE)
    assert await engine.put(POLICY, made(51, b"x"), 51, now + MINUTE)


async def rule_the_order_counts_in_any_form(store: StoreUnderTest) -> None:
    """A record in the form of a later version is replaced by a newer one alone."""
    engine = await store.open()
    now = await _now(engine)
    for form in (2, 9, 10, 99):
        name = Name(Kind.CHECK, f"d{form}.example")
        highest = made(2**53 - 1, form=form)
        assert await engine.put(name, made(1000, form=form), 1000, now + MINUTE)
        assert not await engine.put(name, made(1000), 1000, now + MINUTE)
        assert await _record(engine, name) == made(1000, form=form)
        assert await engine.put(name, made(1001), 1001, now + MINUTE)
        assert await engine.put(name, highest, 2**53 - 1, now + MINUTE)
        assert not await engine.put(name, made(1002), 1002, now + MINUTE)


async def rule_what_is_no_record_is_replaced(store: StoreUnderTest) -> None:
    """Bytes without a valid header never stand in the way of a record."""
    engine = await store.open()
    now = await _now(engine)
    signature = b"5" * 64
    for number, rubbish in enumerate(
        (
            b"",
            b"\xff\xfe\0",
            b"9" * 100,
            b"mta-sts 1",
            b"mta-sts 0 0123abcd 9 " + signature + b"\nbody",
            b"mta-sts 01 0123abcd 9 " + signature + b"\nbody",
            b"mta-sts 100 0123abcd 9 " + signature + b"\nbody",
            b"mta-sts  0123abcd 9 " + signature + b"\nbody",
            b"mta-sts 1 0123abcd " + signature + b"\nbody",
            b"mta-sts 1 0123abcd -5 " + signature + b"\nbody",
            b"mta-sts 1 0123abcd 1e300 " + signature + b"\nbody",
            b"mta-sts 1 0123abcd 9007199254740992 " + signature + b"\nbody",
            b"mta-sts 1 0123abcd " + b"9" * 400 + b" " + signature + b"\nbody",
            b"\nmta-sts 1 0123abcd 7 " + signature + b"\nbody",
        )
    ):
        name = Name(Kind.CHECK, f"d{number}.example")
        assert await engine.put(name, rubbish, 0, now + MINUTE), rubbish
        assert await engine.put(name, made(1), 1, now + MINUTE), rubbish
        assert await _record(engine, name) == made(1), rubbish


async def rule_a_policy_from_the_future_is_replaced(store: StoreUnderTest) -> None:
    """A policy that claims a fetch in more than a minute stands in no one's way."""
    engine = await store.open()
    now = await _now(engine)
    ahead = now + FUTURE + MINUTE
    assert await engine.put(POLICY, made(ahead), ahead, ahead + MINUTE)
    assert await engine.put(POLICY, made(now), now, now + MINUTE)
    assert await _record(engine, POLICY) == made(now)


async def rule_a_policy_a_little_ahead_stays(store: StoreUnderTest) -> None:
    """A policy that is ahead by less than a minute counts as any other."""
    engine = await store.open()
    now = await _now(engine)
    ahead = now + FUTURE // 2
    assert await engine.put(POLICY, made(ahead), ahead, now + MINUTE)
    assert not await engine.put(POLICY, made(now), now, now + MINUTE)
    assert await _record(engine, POLICY) == made(ahead)


async def rule_records_expire(store: StoreUnderTest) -> None:
    """An expired record is not read, and any order takes its place."""
    engine = await store.open()
    now = await _now(engine)
    names = [Name(kind, "example.com") for kind in Kind]
    for name in names:
        assert await engine.put(name, made(500), 500, now + 500_000)
    await store.pass_time(0.6)
    assert not (await engine.read(names)).records
    assert not await engine.page(Kind.CHECK, "", 10)
    assert (await engine.claim(DOMAIN, "a" * 32)).policy is None
    now = await _now(engine)
    for name in names:
        assert await engine.put(name, made(1), 1, now + MINUTE), name
    assert len((await engine.read(names)).records) == len(names)


async def rule_a_record_that_has_expired_already(store: StoreUnderTest) -> None:
    """A record whose end is past is not there after its put, nor what it has replaced."""
    engine = await store.open()
    now = await _now(engine)
    assert await engine.put(POLICY, made(1), 1, now + MINUTE)
    await engine.put(POLICY, made(2), 2, now - MINUTE)
    assert await _record(engine, POLICY) is None


async def rule_a_far_end(store: StoreUnderTest) -> None:
    """A record may live for a year and longer."""
    engine = await store.open()
    now = await _now(engine)
    assert await engine.put(POLICY, made(1), 1, now + 400 * 86_400 * 1_000_000)
    assert await _record(engine, POLICY) == made(1)


async def rule_the_largest_records(store: StoreUnderTest) -> None:
    """A record as long as its kind allows is kept whole; of a longer one comes one byte more."""
    engine = await store.open()
    now = await _now(engine)
    for kind, limit in LIMITS.items():
        body = random.Random(1).randbytes(limit)  # noqa: S311 (no secret)
        allowed, longer = made(1000, body)[:limit], made(1001, body + body)
        name = Name(kind, "large.example")
        assert await engine.put(name, allowed, 1000, now + MINUTE)
        assert await _record(engine, name) == allowed
        assert await engine.put(name, longer, 1001, now + MINUTE)
        assert await _record(engine, name) == longer[: limit + 1]
    (check,) = await engine.page(Kind.CHECK, "", 10)
    assert len(check[1]) == LIMITS[Kind.CHECK] + 1
    claimed = await engine.claim(Domain("large.example"), "a" * 32)
    assert claimed.policy is not None
    assert len(claimed.policy) == LIMITS[Kind.POLICY] + 1


ODD_KEYS: Final[Sequence[str]] = (
    "all",
    "xn--bcher-kva.example",
    f"{'a' * 63}.{'b' * 63}.{'c' * 63}.{'d' * 61}",
    "UPPER",
    "upper",
    " blank at both ends ",
    "{brace}",
    "}{",
    "a:b:{c}",
    "*",
    "a%b_c",
    "a'b\"c\\d",
    "$1; DROP TABLE x; --",
    "[a-z]?",
    "~",
)


async def rule_odd_keys(store: StoreUnderTest) -> None:
    """Any printable text is a key, and stands for nothing else."""
    engine = await store.open()
    now = await _now(engine)
    names = [Name(kind, key) for kind in (Kind.RELAY, Kind.EXCEPTIONS) for key in ODD_KEYS]
    for number, name in enumerate(names):
        assert await engine.put(name, made(number + 1), number + 1, now + MINUTE), name
    records = (await engine.read(names)).records
    assert dict(records) == {name: made(number + 1) for number, name in enumerate(names)}
    assert await engine.remove([Name(Kind.RELAY, "*")]) == 1
    assert len((await engine.read(names)).records) == len(names) - 1


async def rule_removal(store: StoreUnderTest) -> None:
    """Removal counts what was there; afterwards any order is kept. The lease stays."""
    engine = await store.open()
    now = await _now(engine)
    history = Name(Kind.HISTORY, DOMAIN)
    check = Name(Kind.CHECK, DOMAIN)
    assert await engine.put(POLICY, made(1000), 1000, now + MINUTE)
    assert await engine.put(history, made(1000), 1000, now + MINUTE)
    assert (await engine.claim(DOMAIN, "a" * 32)).is_held
    assert await engine.remove([POLICY, history, check]) == 2
    assert await engine.remove([POLICY, history, check]) == 0
    assert not (await engine.claim(DOMAIN, "b" * 32)).is_held or await _lapsed(engine, now)
    assert await engine.put(POLICY, made(1), 1, now + MINUTE)


async def rule_only_the_record_that_was_read_is_discarded(store: StoreUnderTest) -> None:
    """Another one that has taken its place stays, and so do others."""
    engine, other = await store.open(), await store.open()
    now = await _now(engine)
    for kind in Kind:
        name, neighbour = Name(kind, DOMAIN), Name(kind, f"x.{DOMAIN}")
        assert await engine.put(neighbour, made(1000), 1000, now + MINUTE)
        assert await engine.put(name, made(1000), 1000, now + MINUTE)
        for unlike in (made(1000)[:-1], made(1000) + b"x", made(1000, b"\0"), b""):
            await other.discard(name, unlike)
        assert await _record(engine, name) == made(1000)
        await other.discard(name, made(1000))
        await other.discard(name, made(1000))
        assert await _record(engine, name) is None
        assert await engine.put(name, made(5), 5, now + MINUTE)
        assert await _record(engine, neighbour) == made(1000)


async def rule_a_record_that_is_too_long_is_discarded(store: StoreUnderTest) -> None:
    """Its first bytes are all that was read of it."""
    engine = await store.open()
    now = await _now(engine)
    name = Name(Kind.RELAY, "mx1")
    assert await engine.put(name, made(1000, b"x" * LIMITS[Kind.RELAY]), 1000, now + MINUTE)
    found = await _record(engine, name)
    assert found is not None
    await engine.discard(name, found)
    assert await _record(engine, name) is None


async def rule_pages(store: StoreUnderTest) -> None:
    """Pages go through all records of a kind in order of the bytes of their keys, each once."""
    engine = await store.open()
    now = await _now(engine)
    for kind in (Kind.CHECK, Kind.RELAY):
        for key in ODD_KEYS:
            assert await engine.put(Name(kind, key), made(1, key.encode()), 1, now + MINUTE)
    assert await engine.put(POLICY, made(1), 1, now + MINUTE)
    for kind in (Kind.CHECK, Kind.RELAY):
        found: list[tuple[str, bytes]] = []
        while page := await engine.page(kind, found[-1][0] if found else "", 4):
            assert len(page) <= 4
            found += page
        assert found == [(key, made(1, key.encode())) for key in sorted(ODD_KEYS)]


async def rule_pages_without_what_is_gone(store: StoreUnderTest) -> None:
    """A page has neither removed nor expired records, and is not short because of them."""
    engine = await store.open()
    now = await _now(engine)
    for number in range(30):
        life = MINUTE if number % 3 == 0 else 300_000
        name = Name(Kind.CHECK, f"d{number:02}.example")
        assert await engine.put(name, made(1), 1, now + life)
    await engine.remove([Name(Kind.CHECK, "d00.example")])
    await store.pass_time(0.4)
    page = await engine.page(Kind.CHECK, "", 5)
    assert [key for key, _ in page] == [f"d{number:02}.example" for number in (3, 6, 9, 12, 15)]


async def rule_one_has_the_lease(store: StoreUnderTest) -> None:
    """The first has the lease, and keeps it if it asks again; the others see that it is taken."""
    one, other = await store.open(), await store.open()
    for domain in _domains():
        first = await one.claim(domain, "a" * 32)
        again = await one.claim(domain, "a" * 32)
        second = await other.claim(domain, "b" * 32)
        stranger = await other.renew(domain, "b" * 32)
        await other.release(domain, "b" * 32)
        third = await other.claim(domain, "c" * 32)
        if third.now < first.now + LEASE:
            assert (first.is_held, again.is_held) == (True, True)
            assert (second.is_held, stranger, third.is_held) == (False, False, False)
            return
    raise AssertionError("the machine is too busy")


async def rule_a_released_lease_is_free(store: StoreUnderTest) -> None:
    """After its release a lease is another's at once; the former holder cannot renew it."""
    one, other = await store.open(), await store.open()
    assert (await one.claim(DOMAIN, "a" * 32)).is_held
    await one.release(DOMAIN, "a" * 32)
    assert not await one.renew(DOMAIN, "a" * 32)
    assert (await other.claim(DOMAIN, "b" * 32)).is_held
    assert not await one.renew(DOMAIN, "a" * 32)
    await one.release(DOMAIN, "a" * 32)
    await one.release(Domain("never.example"), "a" * 32)


async def rule_leases_are_of_one_domain(store: StoreUnderTest) -> None:
    """The lease of a domain says nothing of another domain's, not of one above or below."""
    engine = await store.open()
    for number, domain in enumerate(("example.com", "a.example.com", "com", "example.com.test")):
        assert (await engine.claim(Domain(domain), f"{number}" * 32)).is_held


async def rule_a_lease_lapses(store: StoreUnderTest) -> None:
    """A lease that is not renewed is another's after three seconds, and cannot be renewed then."""
    one, other = await store.open(), await store.open()
    claimed = [await one.claim(Domain(d), "a" * 32) for d in ("x.example", "y.example")]
    assert all(each.is_held for each in claimed)
    await store.pass_time(LEASE / 1e6 + 0.1)
    assert not await one.renew(Domain("x.example"), "a" * 32)
    assert (await other.claim(Domain("x.example"), "b" * 32)).is_held
    assert (await other.claim(Domain("y.example"), "b" * 32)).is_held
    assert not await one.renew(Domain("y.example"), "a" * 32)


async def rule_a_renewed_lease_stays(store: StoreUnderTest) -> None:
    """A renewal counts from its own time."""
    one, other = await store.open(), await store.open()
    for domain in _domains():
        assert (await one.claim(domain, "a" * 32)).is_held
        await store.pass_time(1.6)
        before = await _now(one)
        is_renewed = await one.renew(domain, "a" * 32)
        await store.pass_time(1.6)
        second = await other.claim(domain, "b" * 32)
        if is_renewed and second.now < before + LEASE:
            assert not second.is_held
            return
    raise AssertionError("the machine is too busy")


async def rule_a_claim_reads_the_policy(store: StoreUnderTest) -> None:
    """A claim tells the policy of the domain and the time, whether or not the lease is free."""
    one, other = await store.open(), await store.open()
    now = await _now(one)
    assert (await one.claim(DOMAIN, "a" * 32)).policy is None
    assert await one.put(POLICY, made(now), now, now + MINUTE)
    claimed = await other.claim(DOMAIN, "b" * 32)
    assert claimed.policy == made(now)
    assert now <= claimed.now < now + MINUTE


async def rule_a_race_for_a_lease(store: StoreUnderTest) -> None:
    """Of many relays that claim a domain at the same time, one has it."""
    engines = [await store.open() for _ in range(5)]
    for domain in _domains():
        started = await _now(engines[0])
        claims = [
            each.claim(domain, f"{number:02}{at:030}")
            for number in range(10)
            for at, each in enumerate(engines)
        ]
        held = [claimed.is_held for claimed in await asyncio.gather(*claims)]
        if not await _lapsed(engines[0], started):
            assert held.count(True) == 1
            return
    raise AssertionError("the machine is too busy")


async def rule_a_race_of_writers(store: StoreUnderTest) -> None:
    """Of many records that are put at the same time, the one with the highest order stays."""
    engines = [await store.open() for _ in range(4)]
    now = await _now(engines[0])
    orders = list(range(now - 100, now))
    random.Random(2).shuffle(orders)  # noqa: S311 (no secret)
    puts = [
        engines[order % 4].put(POLICY, made(order), order, now + MINUTE * 10) for order in orders
    ]
    kept = await asyncio.gather(*puts)
    assert any(kept)
    assert await _record(engines[0], POLICY) == made(now - 1)


async def rule_what_is_due(store: StoreUnderTest) -> None:
    """Domains that are due and in use are found, the longest overdue first, as often as asked."""
    one, other = await store.open(), await store.open()
    now = await _now(one)
    a, b, c, d = (Domain(f"{letter}.example") for letter in "abcd")
    due = {a: now - 10, b: now - 30, c: now - 20, d: now + MINUTE}
    await one.note_uses(dict.fromkeys(due, now), due)
    assert list(await other.due(now - 100, 10)) == [b, c, a]
    assert list(await other.due(now - 100, 2)) == [b, c]
    await other.note_uses({}, {b: now + MINUTE})
    assert list(await one.due(now - 100, 10)) == [c, a]


async def rule_idle_domains_are_dropped(store: StoreUnderTest) -> None:
    """A domain that nobody asks for, or has asked for, is not due, and is dropped."""
    engine = await store.open()
    now = await _now(engine)
    used, idle, never = (Domain(f"{name}.example") for name in ("used", "idle", "never"))
    await engine.note_uses(
        {used: now - 50, idle: now - 200}, {used: now - 1, idle: now - 3, never: now - 2}
    )
    assert list(await engine.due(now - 100, 10)) == [used]
    assert list(await engine.due(0, 10)) == [used]
    await engine.note_uses({idle: now}, {idle: now - 3})
    assert list(await engine.due(now - 100, 10)) == [idle, used]


async def rule_the_latest_use_stays(store: StoreUnderTest) -> None:
    """A use that is noted late does not hide a later one."""
    one, other = await store.open(), await store.open()
    now = await _now(one)
    await one.note_uses({DOMAIN: now}, {DOMAIN: now - 1})
    await other.note_uses({DOMAIN: now - 500}, {})
    assert list(await one.due(now - 100, 10)) == [DOMAIN]


async def rule_many_uses_at_once(store: StoreUnderTest) -> None:
    """Uses of a thousand domains are noted in one call; none at all is no error."""
    engine = await store.open()
    now = await _now(engine)
    domains = [Domain(f"d{number:04}.example") for number in range(1000)]
    await engine.note_uses({}, {})
    await engine.note_uses(dict.fromkeys(domains, now), dict.fromkeys(domains, now - 1))
    assert sorted(await engine.due(now - 100, 2000)) == domains


async def rule_uses_stay_after_a_removal(store: StoreUnderTest) -> None:
    """What is known of a domain's use does not go with its policy."""
    engine = await store.open()
    now = await _now(engine)
    assert await engine.put(POLICY, made(1), 1, now + MINUTE)
    await engine.note_uses({DOMAIN: now}, {DOMAIN: now - 1})
    await engine.remove([POLICY])
    assert list(await engine.due(now - 100, 10)) == [DOMAIN]


async def rule_many_calls_at_once(store: StoreUnderTest) -> None:
    """A hundred calls at the same time on one engine get each its own answer."""
    engine = await store.open()
    now = await _now(engine)
    names = [Name(Kind.POLICY, f"d{number}.example") for number in range(100)]
    puts = (engine.put(n, made(7, n.key.encode()), 7, now + MINUTE * 10) for n in names)
    assert all(await asyncio.gather(*puts))
    records = await asyncio.gather(*(_record(engine, name) for name in names))
    assert records == [made(7, name.key.encode()) for name in names]


async def rule_a_cancelled_call_disturbs_no_other(store: StoreUnderTest) -> None:
    """After calls that were cancelled in their middle, each call still gets its own answer."""
    engine = await store.open()
    now = await _now(engine)
    names = [Name(Kind.POLICY, f"d{number}.example") for number in range(50)]
    for name in names:
        assert await engine.put(name, made(7, name.key.encode()), 7, now + MINUTE * 10)
    for steps in range(20):
        task = asyncio.create_task(_record(engine, names[0]))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        name = names[steps]
        assert await _record(engine, name) == made(7, name.key.encode())


async def rule_the_check_finds_nothing(store: StoreUnderTest) -> None:
    """A relay that may do all that it needs has findings, and all are well."""
    engine = await store.open()
    findings = await engine.check()
    assert findings
    assert all(each.is_well and not each.mend for each in findings), findings
    assert all(each.what.isprintable() and each.found.isprintable() for each in findings)


async def rule_a_closed_engine_leaves_all_as_it_is(store: StoreUnderTest) -> None:
    """The records of a relay outlive its connection."""
    one, other = await store.open(), await store.open()
    now = await _now(one)
    assert await one.put(POLICY, made(1), 1, now + MINUTE)
    await one.close()
    assert await _record(other, POLICY) == made(1)


def _domains() -> list[Domain]:
    """A domain for each try of a rule."""
    return [Domain(f"try{number}.example") for number in range(_ATTEMPTS)]


async def _lapsed(engine: Engine, started: int) -> bool:
    """Whether a lease may have lapsed since then."""
    return await _now(engine) >= started + LEASE


RULES: Final[Sequence[Rule]] = [
    each for name, each in list(globals().items()) if name.startswith("rule_")
]
