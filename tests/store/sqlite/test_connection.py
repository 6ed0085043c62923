"""A connection in a thread of its own: one after the other, and no fault stays there."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from postfix_mta_sts.store.sqlite.connection import SqliteConnection


@pytest.fixture
async def connection(tmp_path: Path) -> AsyncIterator[SqliteConnection]:
    """A connection to a new file."""
    new = await SqliteConnection.open(tmp_path / "new.db", 0.1, ["user_version = 7"])
    yield new
    await new.close()


async def test_what_is_asked_is_done_there(connection: SqliteConnection) -> None:
    """In a thread that is not the loop's, with the pragmas that were given; text is bytes."""
    here = threading.get_ident()
    assert await connection.run(lambda _: threading.get_ident()) != here
    query = "SELECT user_version, 'text' FROM pragma_user_version"
    rows = await connection.run(lambda db: db.execute(query).fetchall())
    assert rows == [(7, b"text")]


async def test_a_fault_is_raised_where_it_was_asked(connection: SqliteConnection) -> None:
    """And the next is done as though nothing had been."""
    with pytest.raises(sqlite3.OperationalError, match="syntax"):
        await connection.run(lambda db: db.execute("FAIL"))
    assert await connection.run(lambda _: 1) == 1


async def test_whoever_gives_up_stops_nothing(connection: SqliteConnection) -> None:
    """What was asked is done all the same, whether well or not, and so is what comes behind it."""
    held = threading.Event()
    done: list[int] = []

    def slow(_: sqlite3.Connection) -> None:
        held.wait()
        done.append(1)

    def failing(_: sqlite3.Connection) -> None:
        done.append(2)
        raise sqlite3.OperationalError

    asking = [asyncio.create_task(connection.run(work)) for work in (slow, failing)]
    await asyncio.sleep(0)
    for task in asking:
        task.cancel()
    await asyncio.wait(asking)
    held.set()
    await connection.run(lambda _: done.append(3))
    assert done == [1, 2, 3]


async def test_close_ends_the_thread(tmp_path: Path) -> None:
    """After what was asked is done; then nothing can be asked any more."""
    connection = await SqliteConnection.open(tmp_path / "new.db", 0.1)
    asked = asyncio.create_task(connection.run(lambda _: 1))
    await asyncio.sleep(0)
    await connection.close()
    assert await asked == 1
    with pytest.raises(ValueError, match="no active connection"):
        await connection.run(lambda _: 1)
