"""Shapes with many policies in the store: random look-ups, and a start.

The files have the schema of the daemon. They are written once, reused for half a day (after that
their policies would be due for renewal), and copied for each server.
"""

import contextlib
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bench import programs
from bench.load import POLICY, Load
from bench.servers import DAEMON
from bench.shape import CPU, P50, P99, Bench, Shape, progress, settle
from bench.sheet import Line, Mark
from postfix_mta_sts.store.sqlite.layout import SCHEMA
from postfix_mta_sts.store.sqlite.schema import prepare

ROWS: Final = 1_000_000
_FEWER_ROWS: Final = 100_000
ENTRIES: Final = 10_000
LOOKUPS: Final = 40_000
_RATE: Final = 1_000
_REUSED_FOR: Final = 12 * 3600.0
_REFETCH_IN: Final = 23 * 3600.0
"""Seconds, less than a day: `lifecycle` takes a later time for the effect of a wrong clock."""

_INSERT = """
    INSERT INTO policies
        (domain, policy_id, policy, fetched_at, refetch_at, expires_at, asked_at)
        VALUES (?, '20260101', ?, ?, ?, ?, 0)
"""
"""asked_at is 0, never, so that the refresher does not renew them."""

_RANDOM = "1,000,000 policies in the store, random look-ups, 50 clients"
_RANDOM_FEWER = "the same, 100,000 in the store"
_PACED = ", 1,000 per second"
_START = "start with 1,000,000 policies in the store"
_GROWTH = "more memory than with 100,000 in the store, MiB"
_FIRST_ANSWER = "to the first answer, s"


def copy_of_file(rows: int, folder: Path) -> Path:
    """Return a new store with the policies of d0.bench.test and so on, for one server."""
    made = programs.cache() / f"policies-{rows}-schema-{len(SCHEMA)}.db"
    if not made.exists() or time.time() - made.stat().st_mtime > _REUSED_FOR:
        progress(f"writing {rows:,} policies to a file")
        _write(made, rows)
    copy = folder / f"{time.monotonic_ns()}-{made.name}"
    shutil.copyfile(made, copy)
    with copy.open("rb") as written:
        os.fsync(written.fileno())  # or the kernel would write 300 MiB during the measurement
    return copy


def _write(made: Path, rows: int) -> None:
    new = made.with_suffix(".new")
    new.unlink(missing_ok=True)
    prepare(new, SCHEMA, 1.0, time.time)
    with contextlib.closing(sqlite3.connect(new)) as db:
        db.execute("PRAGMA journal_mode = DELETE")
        with db:
            db.executemany(_INSERT, _policies(rows, time.time()))
    new.rename(made)


def _policies(rows: int, now: float) -> Iterator[tuple[object, ...]]:
    max_age = 604_800
    for number in range(rows):
        domain = POLICY.replace("%", str(number))
        text = (
            f"version: STSv1\r\nmode: enforce\r\nmx: mx1.{domain}\r\nmx: mx2.{domain}\r\n"
            f"max_age: {max_age}\r\n"
        )
        yield domain, text, now, now + _REFETCH_IN, now + max_age


def _random(bench: Bench) -> None:
    for round_ in range(bench.rounds):
        progress(f"{_RANDOM}: round {round_ + 1}")
        fewer = _memory_after(bench, bench.scaled(_FEWER_ROWS), _RANDOM_FEWER)
        many = _memory_after(bench, bench.scaled(ROWS), _RANDOM)
        bench.sheet.note(_RANDOM, _GROWTH, DAEMON, many - fewer)


def _memory_after(bench: Bench, rows: int, shape: str) -> float:
    """Measure look-ups that fill the cache several times; return the memory after them, MiB."""
    store = copy_of_file(rows, bench.folder)
    entries = bench.scaled(ENTRIES)
    with bench.servers.daemon(store=store, entries=entries) as server:
        settle(server.process)  # the network process starts at the same time as the server
        load = Load(POLICY, numbers=rows, count=bench.scaled(LOOKUPS))
        bench.measure(shape, server, server.at["TCP"], load)
        # The daemon rechecks stored policies after their replies, also during this load.
        paced = Load(POLICY, numbers=rows, rate=_RATE, seconds=bench.seconds)
        bench.measure(f"{shape}{_PACED}", server, server.at["TCP"], paced)
        settle(server.process)
        used = server.process.memory()
    store.unlink()
    return used


def _start(bench: Bench) -> None:
    store = copy_of_file(bench.scaled(ROWS), bench.folder)
    for round_ in range(bench.rounds):
        progress(f"{_START}: round {round_ + 1}")
        started = time.monotonic()
        with bench.servers.daemon(store=store) as server:
            server.at["TCP"].ask(POLICY.replace("%", str(round_)))
            bench.sheet.note(_START, _FIRST_ANSWER, server.name, time.monotonic() - started)
    store.unlink()


SHAPES: Final = (
    Shape(
        "stored",
        _random,
        (
            Line(_RANDOM, P50),
            Line(_RANDOM, P99, (Mark(5_000),)),
            Line(_RANDOM, CPU),
            Line(f"{_RANDOM}{_PACED}", P99),
            Line(_RANDOM_FEWER, P99),
            Line(_RANDOM, _GROWTH, (Mark(2),)),
        ),
    ),
    Shape("start", _start, (Line(_START, _FIRST_ANSWER, (Mark(0.5),)),)),
)
