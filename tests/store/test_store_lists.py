"""The contract of `Store`, continued: queries of many rows, and the history of a domain."""

from collections.abc import AsyncIterator

import pytest

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.policy import Mode, parse_policy, parse_stored_policy
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.store import (
    MAX_HISTORY,
    HistoryEntry,
    LastAsked,
    Overview,
    Row,
    RowFilter,
    Store,
)
from tests.support.states import a_policy, a_state
from tests.support.stores import MAKERS, Maker, opened

GOOD = Domain("good.test")
OTHER = Domain("other.test")


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest) -> Maker:
    """One implementation after the other."""
    maker: Maker = request.param
    return maker


@pytest.fixture
async def store(make: Maker) -> AsyncIterator[Store]:
    """A new store of each implementation."""
    async with opened(make) as new:
        yield new


async def test_due_order_and_limit(store: Store) -> None:
    """The longest overdue domains come first, at most `limit`."""
    for n in (3, 1, 2, 4):
        await store.save(Domain(f"d{n}.test"), a_state(refetch_at=2000.0 + n), 1000.0)
    assert await store.due(2003.0, 0.0, 9) == ["d1.test", "d2.test", "d3.test"]
    assert await store.due(2003.0, 0.0, 2) == ["d1.test", "d2.test"]


@pytest.mark.parametrize(
    ("now", "asked_since", "found"),
    [
        (2000.0, 1000.0, 1),
        (1999.0, 1000.0, 0),
        (2000.0, 1000.1, 0),
        (1000.0 + 604_800 - 1, 0.0, 1),
        (1000.0 + 604_800, 0.0, 0),
    ],
)
async def test_due_bounds(store: Store, now: float, asked_since: float, found: int) -> None:
    """A domain is due if its refetch is due, it has not expired, and it is in use."""
    await store.save(GOOD, a_state(refetch_at=2000.0), 1000.0)
    assert await store.due(now, asked_since, 9) == [GOOD] * found


async def test_history_of_a_long_policy(store: Store) -> None:
    """The history keeps the first of hundreds of patterns, and the number of the others."""
    mx = [f"mx{n}.example.test" for n in range(500)]
    text = "version: STSv1\nmode: enforce\nmax_age: 9\n" + "".join(f"mx: {m}\n" for m in mx)
    await store.save(GOOD, a_state(policy=parse_stored_policy(text.encode())), 0.0)
    [entry] = await store.history(GOOD)
    assert entry.mx[:3] == tuple(mx[:3])
    assert entry.mx[-1] == f"+{500 - len(entry.mx) + 1}"
    assert len(" ".join(entry.mx)) < 1100


async def test_history(store: Store) -> None:
    """Each policy appears once, with its first and last fetch; the last seen comes first."""
    testing = parse_policy(a_policy().text.replace("enforce", "testing").encode())
    await store.save(GOOD, a_state(1000.0), 0.0)
    await store.save(GOOD, a_state(2000.0), 0.0)
    await store.save(GOOD, a_state(3000.0, policy=testing), 0.0)
    await store.save(GOOD, a_state(4000.0, policy_id="id2"), 0.0)
    await store.save(OTHER, a_state(9000.0), 0.0)
    mx = ("mx.good.test",)
    assert await store.history(GOOD) == [
        HistoryEntry(PolicyId("id2"), Mode.ENFORCE, mx, 4000.0, 4000.0),
        HistoryEntry(PolicyId("id1"), Mode.TESTING, mx, 3000.0, 3000.0),
        HistoryEntry(PolicyId("id1"), Mode.ENFORCE, mx, 1000.0, 2000.0),
    ]
    assert await store.history(Domain("unknown.test")) == []


async def test_history_is_bounded(store: Store) -> None:
    """The oldest entries are removed; those of other domains stay."""
    await store.save(OTHER, a_state(), 0.0)
    for n in range(MAX_HISTORY + 3):
        await store.save(GOOD, a_state(1000.0 + n, policy_id=f"id{n}"), 0.0)
    history = await store.history(GOOD)
    assert [seen.policy_id for seen in history] == [f"id{n}" for n in range(22, 2, -1)]
    assert len(await store.history(OTHER)) == 1


async def test_history_is_removed_with_the_row(store: Store) -> None:
    """Removing an expired row removes the history of its domain."""
    await store.save(GOOD, a_state(policy=a_policy(max_age=100)), 1000.0)
    await store.save(OTHER, a_state(), 1000.0)
    assert await store.remove_expired(1101.0) == 1
    assert await store.history(GOOD) == []
    assert len(await store.history(OTHER)) == 1


async def filled(store: Store) -> None:
    """Save ten domains: odd ones are testing, d8 and d9 expire soon, and d0 has expired."""
    ages = {0: 50, 8: 500, 9: 500}
    for n in range(10):
        text = a_policy(max_age=ages.get(n, 9000)).text
        if n % 2:
            text = text.replace("enforce", "testing")
        state = a_state(1000.0 + n, 2000.0 + n, policy=parse_policy(text.encode()))
        await store.save(Domain(f"d{n}.test"), state, 1000.0 + n)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (RowFilter(1100.0), "123456789"),
        (RowFilter(1100.0, Mode.TESTING), "13579"),
        (RowFilter(1100.0, Mode.NONE), ""),
        (RowFilter(1100.0, expiring_before=2000.0), "89"),
        (RowFilter(1100.0, Mode.ENFORCE, 2000.0), "8"),
        (RowFilter(1600.0), "1234567"),
        (RowFilter(1100.0, asked_since=1006.0), "6789"),
        (RowFilter(1100.0, Mode.TESTING, 2000.0, 1006.0), "9"),
        (RowFilter(1100.0, asked_since=1010.0), ""),
    ],
)
async def test_pages(store: Store, query: RowFilter, found: str) -> None:
    """All matching rows, ordered by domain, page by page; then an empty page."""
    await filled(store)
    after: Domain | None = None
    domains: list[str] = []
    while rows := await store.page(query, after, 2):
        assert len(rows) <= 2
        domains += [row.domain for row in rows]
        after = rows[-1].domain
    assert domains == [f"d{n}.test" for n in found]


async def test_a_page_has_whole_rows(store: Store) -> None:
    """A row has the state that `load` returns, and when and how often it was asked for."""
    await store.save(GOOD, a_state(), 1000.0)
    await store.touch({GOOD: LastAsked(2000.0, 4)})
    assert await store.page(RowFilter(0.0), None, 9) == [Row(GOOD, a_state(), 2000.0, 4, ((0, 4),))]


async def test_overview(store: Store) -> None:
    """Unexpired rows by mode, and the fetch time of the row in use that is due first."""
    await filled(store)
    modes = {Mode.ENFORCE: 4, Mode.TESTING: 5, Mode.NONE: 0}
    assert await store.overview(1100.0, 1003.0) == Overview(modes, 1003.0)
    modes = {Mode.ENFORCE: 3, Mode.TESTING: 4, Mode.NONE: 0}
    assert await store.overview(1600.0, 9000.0) == Overview(modes, None)
