"""Calls that arrive together are one statement; `FakeRows` plays the tables."""

import asyncio
from collections.abc import Sequence
from itertools import chain
from typing import Any

import pytest

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.store.fleet.engine import LIMITS, Claimed, Kind, Name, Read
from postfix_mta_sts.store.fleet.errors import CannotServeError, NotReachedError
from postfix_mta_sts.store.fleet.postgresql.batches import (
    AT_ONCE,
    LARGE,
    NOTED_AT_ONCE,
    SIZE,
    Batches,
)
from postfix_mta_sts.store.fleet.postgresql.statements import statements

SQL = statements("mta_sts")
DOMAINS = [Domain(f"d{number}.test") for number in range(120)]
NAMES = [Name(Kind.HISTORY, domain) for domain in DOMAINS]


class FakeRows:
    """Executes statements, each when `go` is set; `held` are the leases that others have."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Sequence[Any], ...]]] = []
        self.under_way = asyncio.Semaphore(0)
        self.given_up = asyncio.Semaphore(0)
        self.go = asyncio.Event()
        self.go.set()
        self.held: set[str] = set()
        self.leased: set[str] = set()
        """Of these there was a lease, which is free now unless it is in `held`."""
        self.records: dict[tuple[str, str], bytes] = {}
        self.fault: Exception | None = None

    async def __call__(self, sql: str, *arguments: Sequence[Any]) -> Sequence[Any]:
        """See `Rows`."""
        self.calls.append((sql, arguments))
        self.under_way.release()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.given_up.release()
            raise
        if self.fault:
            raise self.fault
        if sql == SQL.read:
            asked = zip(arguments[0], arguments[1], strict=True)
            found = [(7, *each, self.records[each]) for each in asked if each in self.records]
            return found or [(7, None, None, None)]
        if sql == SQL.put:
            return self._put(*arguments)
        if sql == SQL.claim:
            free = set(arguments[0]) - self.held
            return [(7, each, each in free, None, each in self.leased) for each in arguments[0]]
        return []

    def _put(self, *columns: Sequence[str]) -> Sequence[Any]:
        names = list(zip(columns[0], columns[1], strict=True))
        assert len(set(names)) == len(names), "PostgreSQL refuses to write a row twice"
        kept = [name for name in names if name not in self.records]
        for name, record in zip(names, columns[2], strict=True):
            self.records.setdefault(name, bytes.fromhex(record))
        return kept

    @property
    def widths(self) -> list[int]:
        """How many rows each statement was about."""
        return [len(arguments[0]) for _, arguments in self.calls]


async def taken(what: asyncio.Semaphore) -> None:
    """Wait until it has happened to as many statements as run at once."""
    for _ in range(AT_ONCE):
        await what.acquire()


async def test_calls_that_wait_are_one_statement() -> None:
    """While statements are under way others wait, and are one statement, of bounded size."""
    rows = FakeRows()
    batches = Batches(SQL, rows)
    rows.go.clear()
    claims = [asyncio.create_task(batches.claim(domain, "t")) for domain in DOMAINS]
    await taken(rows.under_way)
    rows.go.set()
    assert await asyncio.gather(*claims) == [Claimed(7, is_held=True, policy=None)] * len(NAMES)
    assert sum(rows.widths) == len(NAMES)
    assert max(rows.widths) == SIZE
    assert len(rows.calls) <= AT_ONCE + 1


async def test_each_call_has_its_own_answer() -> None:
    """Of records that are put and read together, each caller has what is its own."""
    rows = FakeRows()
    batches = Batches(SQL, rows)
    rows.records["history", "d3.test"] = b"there"
    kept = await asyncio.gather(*(batches.put(n, n.key.encode(), 1) for n in NAMES))
    assert kept == [name.key != "d3.test" for name in NAMES]
    read = await asyncio.gather(*(batches.read(name) for name in NAMES))
    for name, each in zip(NAMES, read, strict=True):
        expected = b"there" if name.key == "d3.test" else name.key.encode()
        assert each == Read(7, {name: expected})
    assert await batches.read(Name(Kind.HISTORY, Domain("none.test"))) == Read(7, {})


async def test_one_name_put_twice_at_once() -> None:
    """Two records of one name are two statements: one cannot write a row twice."""
    rows = FakeRows()
    batches = Batches(SQL, rows)
    name = NAMES[0]
    puts = [batches.put(NAMES[9 - n % 10], b"%d" % n, 1) for n in range(60)]
    kept = await asyncio.gather(*puts)
    assert sum(kept) == 10
    assert (await batches.read(name)).records[name]


async def test_one_domain_claimed_and_noted_twice_at_once() -> None:
    """The same holds for leases and uses; a later time that is missing removes none."""
    rows = FakeRows()
    batches = Batches(SQL, rows)
    domain = DOMAINS[0]
    await asyncio.gather(*(batches.claim(domain, f"{n}") for n in range(9)))
    await asyncio.gather(*(batches.note_all({domain: n}, {}) for n in range(9)))
    assert all(width == 1 for width in rows.widths)
    tokens = {arguments[1][0] for sql, arguments in rows.calls if sql == SQL.claim}
    assert tokens == {f"{n}" for n in range(9)}
    noted = [arguments for sql, arguments in rows.calls if sql == SQL.note]
    assert sorted(each[1][0] for each in noted) == [f"{n}" for n in range(9)]
    assert all(each[2] == [None] for each in noted)


async def test_many_uses() -> None:
    """They take several statements, which lock so many rows each; a time may be missing."""
    rows = FakeRows()
    domains = [Domain(f"d{number:04}.test") for number in range(2 * NOTED_AT_ONCE + 1)]
    await Batches(SQL, rows).note_all(dict.fromkeys(domains[1:], 5), {domains[0]: 6})
    assert {sql for sql, _ in rows.calls} == {SQL.note}
    assert rows.widths == [NOTED_AT_ONCE, NOTED_AT_ONCE, 1]
    in_columns = zip(*(arguments for _, arguments in rows.calls), strict=True)
    columns = [list(chain.from_iterable(each)) for each in in_columns]
    others = len(domains) - 1
    assert columns == [domains, [None] + ["5"] * others, ["6"] + [None] * others]


async def test_a_lease_that_was_given_back_meanwhile() -> None:
    """The policy is read again if there was a holder, which may have put it just before."""
    rows = FakeRows()
    rows.held, rows.leased = {"d1.test"}, {"d0.test", "d1.test"}
    for domain in DOMAINS[:2]:
        rows.records["policy", domain] = b"policy"
    batches = Batches(SQL, rows)
    got = await asyncio.gather(*(batches.claim(domain, "t") for domain in DOMAINS[:3]))
    assert got == [
        Claimed(7, is_held=True, policy=b"policy"),
        Claimed(7, is_held=False, policy=None),
        Claimed(7, is_held=True, policy=None),
    ]
    assert [sql for sql, _ in rows.calls] == [SQL.claim, SQL.read]
    assert rows.calls[1][1][1] == ["d0.test"]


async def test_a_large_record_has_a_statement_of_its_own() -> None:
    """Records of some length are not collected in one statement."""
    rows = FakeRows()
    batches = Batches(SQL, rows)
    record = b"x" * (LARGE + 1)
    await asyncio.gather(*(batches.put(name, record, 1) for name in NAMES[:20]))
    assert rows.widths == [1] * 20
    assert min(LIMITS[Kind.POLICY], LIMITS[Kind.HISTORY]) > LARGE


async def test_an_error_reaches_all_that_wait() -> None:
    """All calls of a statement that fails have its error."""
    rows = FakeRows()
    rows.fault = CannotServeError("the disk is full")
    batches = Batches(SQL, rows)
    releases = (batches.release(domain, "t") for domain in DOMAINS)
    for outcome in await asyncio.gather(*releases, return_exceptions=True):
        assert isinstance(outcome, CannotServeError)


async def test_a_statement_for_which_nothing_waits_ends() -> None:
    """A server that hangs has no statement any more when all callers have gone; others still do."""
    rows = FakeRows()
    batches = Batches(SQL, rows)
    rows.go.clear()
    callers = [asyncio.create_task(batches.release(domain, "t")) for domain in DOMAINS]
    await taken(rows.under_way)
    for caller in callers[:-1]:
        caller.cancel()
    await taken(rows.given_up)
    rows.go.set()
    await callers[-1]
    assert rows.widths == [SIZE, SIZE, 1], "cancelled calls that waited are not made"


async def test_a_call_after_one_that_was_given_up() -> None:
    """What was given up disturbs no later call."""
    rows = FakeRows()
    batches = Batches(SQL, rows)
    rows.go.clear()
    for _ in range(5):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await batches.claim(DOMAINS[0], "t")
    rows.go.set()
    assert (await batches.claim(DOMAINS[0], "t")).is_held


async def test_connections_that_close() -> None:
    """An error of the connections is that of the call."""
    rows = FakeRows()
    rows.fault = NotReachedError("the connections are closed")
    with pytest.raises(NotReachedError, match="closed"):
        await Batches(SQL, rows).read(NAMES[0])
