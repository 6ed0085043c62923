"""SqliteStore: rows that are not valid, bounded removal, and the indices that queries use."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from re import findall

import pytest

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.store import RowFilter, StoreError
from postfix_mta_sts.store.sqlite import statements, writes
from postfix_mta_sts.store.sqlite.store import SqliteStore
from tests.support.sqlite_file import execute, locked
from tests.support.states import TEXT, a_state

GOOD = Domain("good.test")
OTHER = Domain("other.test")
MANY = [Domain(f"d{n}.test") for n in range(200)]
ROW = """
    INSERT INTO policies
        (domain, policy, policy_id, fetched_at, refetch_at, expires_at, asked_at)
        VALUES (?, ?, 'id1', 0, 0, 1, 0)
"""


async def test_many_domains_are_loaded_in_one_read(store: SqliteStore) -> None:
    """One read returns the states of many domains; a domain without a row is left out."""
    states = {domain: a_state(float(n), 9e8) for n, domain in enumerate(MANY)}
    await asyncio.gather(*(store.save(domain, state, 1.0) for domain, state in states.items()))
    assert await store.load_all([*MANY, GOOD]) == states


async def test_read_only(store: SqliteStore) -> None:
    """If the file cannot be written, saves fail and loads succeed."""
    await store.save(GOOD, a_state(), 0.0)
    await store.file.writing.run(lambda db: db.execute("PRAGMA query_only = ON").fetchall())
    with pytest.raises(StoreError, match="readonly database"):
        await store.save(OTHER, a_state(), 0.0)
    assert await store.load(GOOD) == a_state()


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("policy", "version: STSv2\nmode: none\nmax_age: 1\n", "version is not STSv1"),
        ("policy", b"version: STSv1\nmode: none\nmax_age: 1\nnote: \xff\n", "not UTF-8"),
        ("policy", 5.0, "no colon"),
        ("policy_id", "no id!", "id is not"),
        ("policy_id", "n" * 33, "id is not"),
        ("policy_id", "two\nlines", "id is not"),
        ("refetch_at", "soon", "not a time"),
        ("fetched_at", "soon", "not a time"),
        ("fetched_at", 9e999, "not finite"),
        ("claimed_at", b"soon", "not a time"),
        ("failures", "{}", "missing required field"),
    ],
)
async def test_unreadable_row(
    store: SqliteStore,
    path: Path,
    caplog: pytest.LogCaptureFixture,
    column: str,
    value: object,
    reason: str,
) -> None:
    """A row without a valid policy is not returned; it is removed and logged once.

    It was written by an earlier version, without a digest.
    """
    await store.save(GOOD, a_state(), 0.0)
    execute(path, f"UPDATE policies SET digest = NULL, {column} = ?", value)  # noqa: S608 (a constant column)
    assert await store.load(GOOD) is None
    await store.touch({})  # written after the removal
    assert await store.due(5000.0, 0.0, 9) == []
    assert await store.load(GOOD) is None
    [record] = [r for r in caplog.records if r.levelname == "WARNING"]
    assert record.getMessage().startswith("good.test: stored policy is not readable")
    assert reason in record.getMessage()


async def test_unreadable_row_of_a_locked_file(store: SqliteStore, path: Path) -> None:
    """If such a row cannot be removed now, no error is raised."""
    await store.save(GOOD, a_state(), 0.0)
    execute(path, "UPDATE policies SET policy = ''")
    with locked(path):
        assert await store.load(GOOD) is None
        await asyncio.wait([store.file.writer.task] if store.file.writer.task else [])
    assert await store.load(GOOD) is None


async def test_removal_spares_a_newer_row(store: SqliteStore) -> None:
    """A policy that is saved before the unreadable one is removed stays."""
    later = a_state(1500.0)
    await store.save(GOOD, later, 0.0)
    store._remove_damaged(GOOD, "no version field")
    await store.touch({})  # written after the removal
    assert await store.load(GOOD) == later


async def test_unreadable_verdict(store: SqliteStore, path: Path) -> None:
    """A verdict that cannot be read is None, and the policy stays."""
    await store.save(GOOD, a_state(), 0.0)
    for text in ("", "{}", "\xff", b"\xff\x00"):
        execute(path, "UPDATE policies SET digest = NULL, dane = ?", text)
        state = await store.load(GOOD)
        assert state
        assert (bool(state.policy), state.dane) == (True, None)


async def test_bounded_removal(store: SqliteStore, path: Path) -> None:
    """One call removes a few thousand rows, so that no save waits long; the next call continues."""
    most = writes.REMOVE_LIMIT
    with closing(sqlite3.connect(path)) as db, db:
        rows = [(f"d{n}.test", TEXT) for n in range(most + 1)]
        db.executemany(ROW, rows)
    assert [await store.remove_expired(2.0) for _ in range(3)] == [most, 1, 0]


async def test_queries_use_their_indices(store: SqliteStore, path: Path) -> None:
    """Statements on a million rows use an index, and `due` reads only the index."""
    queries = {
        "due": statements.DUE,
        "remove": statements.REMOVE_EXPIRED,
        "load": statements.LOAD,
        "touch": statements.TOUCH[0],
        "page": statements.PAGE,
        "oldest": statements.OLDEST,
        "modes": statements.BY_MODE,
        "history": statements.HISTORY,
    }
    with closing(sqlite3.connect(path)) as db:
        plans = {
            name: " / ".join(
                row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {query}", [1] * _places(query))
            )
            for name, query in queries.items()
        }
    assert plans["due"] == "SEARCH policies USING COVERING INDEX policies_due (refetch_at<?)"
    assert "USING INDEX policies_expired (expires_at<?)" in plans["remove"]
    for name in ("due", "remove", "load", "touch", "page"):
        assert "SCAN policies" not in plans[name]
    assert "USING INDEX sqlite_autoindex_policies_1 (domain=?)" in plans["load"]
    assert "USING INDEX sqlite_autoindex_policies_1 (domain=?)" in plans["touch"]
    assert plans["page"] == "SEARCH policies USING INDEX policies_listed (domain>?)"
    assert plans["oldest"] == "SCAN policies USING INDEX policies_due"
    assert findall("^SCAN policies USING (COVERING )?INDEX policies_listed$", plans["modes"])
    assert "SEARCH history USING PRIMARY KEY (domain=?)" in plans["history"]


def _places(query: str) -> int:
    return len(set(findall(r"\?\d", query))) or query.count("?")


async def test_pages_pass_over_damaged_rows(store: SqliteStore, path: Path) -> None:
    """A page of which every row is damaged is not the last one."""
    for domain in sorted(MANY)[:9]:
        await store.save(domain, a_state(), 0.0)
    for domain in sorted(MANY)[:6]:
        execute(path, "UPDATE policies SET digest = x'00' WHERE domain = ?", domain)
    rows = await store.page(RowFilter(0.0), None, 3)
    assert [row.domain for row in rows] == sorted(MANY)[6:9]


async def test_a_damaged_entry_of_the_history_is_left_out(store: SqliteStore, path: Path) -> None:
    """The other entries are shown."""
    await store.save(GOOD, a_state(1000.0, policy_id="id1"), 0.0)
    await store.save(GOOD, a_state(2000.0, policy_id="id2"), 0.0)
    execute(path, "UPDATE history SET mode = 'enfurce' WHERE policy_id = 'id2'")
    assert [entry.policy_id for entry in await store.history(GOOD)] == ["id1"]
