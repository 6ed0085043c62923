"""SqliteConnection: calls run in its thread, one after the other, and raise their errors."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from postfix_mta_sts.store.sqlite import connection as connection_module
from postfix_mta_sts.store.sqlite.connection import SqliteConnection


@pytest.fixture
async def connection(tmp_path: Path) -> AsyncIterator[SqliteConnection]:
    """A connection to a new file."""
    new = await SqliteConnection.open(tmp_path / "new.db", 0.1, ["user_version = 7"])
    yield new
    await new.close()


async def test_a_cancelled_opening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread has ended when it is over: it must not report to an event loop that is closed."""
    monkeypatch.setattr(connection_module, "THREAD_END", 60.0)  # for a busy machine
    before = threading.active_count()
    opening = asyncio.create_task(SqliteConnection.open(tmp_path / "other.db", 0.1))
    await asyncio.sleep(0)
    assert threading.active_count() > before
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert threading.active_count() == before


async def test_calls_run_in_the_thread(connection: SqliteConnection) -> None:
    """They do not run in the thread of the loop; pragmas are set, and text is bytes."""
    here = threading.get_ident()
    assert await connection.run(lambda _: threading.get_ident()) != here
    query = "SELECT user_version, 'text' FROM pragma_user_version"
    rows = await connection.run(lambda db: db.execute(query).fetchall())
    assert rows == [(7, b"text")]


async def test_a_call_raises_its_error(connection: SqliteConnection) -> None:
    """The error reaches the caller, and the next call works."""
    with pytest.raises(sqlite3.OperationalError, match="syntax"):
        await connection.run(lambda db: db.execute("FAIL"))
    assert await connection.run(lambda _: 1) == 1


async def test_a_cancelled_call_is_executed(connection: SqliteConnection) -> None:
    """A cancelled call is executed, even if it fails, and so are the calls after it."""
    release = threading.Event()
    done: list[int] = []

    def slow(_: sqlite3.Connection) -> None:
        release.wait()
        done.append(1)

    def failing(_: sqlite3.Connection) -> None:
        done.append(2)
        raise sqlite3.OperationalError

    asking = [asyncio.create_task(connection.run(work)) for work in (slow, failing)]
    await asyncio.sleep(0)
    for task in asking:
        task.cancel()
    await asyncio.wait(asking)
    release.set()
    await connection.run(lambda _: done.append(3))
    assert done == [1, 2, 3]


async def test_an_optional_call_is_not_executed_for_nobody(connection: SqliteConnection) -> None:
    """A read whose caller has given up while it waited is left out."""
    release = threading.Event()
    done: list[int] = []
    slow = asyncio.create_task(connection.run(lambda _: release.wait()))
    read = asyncio.create_task(connection.run(lambda _: done.append(1), optional=True))
    await asyncio.sleep(0)
    read.cancel()
    await asyncio.wait([read])
    release.set()
    await slow
    await connection.run(lambda _: None)
    assert done == []


async def test_calls_that_wait_are_bounded(
    connection: SqliteConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a disk that hangs, calls above the limit are refused at once."""
    monkeypatch.setattr("postfix_mta_sts.store.sqlite.connection.WAITING_LIMIT", 3)
    release, began = threading.Event(), threading.Event()

    def hang(_: sqlite3.Connection) -> None:
        began.set()
        release.wait()

    waiting = [asyncio.create_task(connection.run(hang))]
    await asyncio.to_thread(began.wait)
    waiting += [asyncio.create_task(connection.run(lambda _: None)) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(sqlite3.OperationalError, match="too many calls wait"):
        await connection.run(lambda _: None)
    release.set()
    await asyncio.gather(*waiting)
    await connection.run(lambda _: None)


async def test_close_ends_the_thread(tmp_path: Path) -> None:
    """`close` waits for the calls before it; later calls raise an error."""
    connection = await SqliteConnection.open(tmp_path / "new.db", 0.1)
    asked = asyncio.create_task(connection.run(lambda _: 1))
    await asyncio.sleep(0)
    await connection.close()
    assert await asked == 1
    with pytest.raises(ValueError, match="no active connection"):
        await connection.run(lambda _: 1)
