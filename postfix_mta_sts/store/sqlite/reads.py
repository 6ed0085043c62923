"""Reads of a SQLite store: functions that the thread of a connection calls.

Policies are parsed and digests are checked here, so that a long policy does not hold up the event
loop.
"""

import json
import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import MtaStsError
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.mtasts.policy import Mode
from postfix_mta_sts.store import HistoryEntry, Overview, Row, RowFilter
from postfix_mta_sts.store.sqlite import statements
from postfix_mta_sts.store.sqlite.rows import (
    domain_of,
    history_entry_of,
    read_state,
    valid_rows,
)
from postfix_mta_sts.values import to_json


class Loaded(NamedTuple):
    """What was found in the rows of some domains."""

    states: dict[Domain, State]
    damaged: dict[Domain, str]
    """Why a row cannot be used."""
    to_correct: list[Domain]
    """Rows with times that cannot be true."""


def load(domains: Sequence[Domain], now: float, db: sqlite3.Connection) -> Loaded:
    """Load the rows of some domains; one that is damaged does not affect the others."""
    loaded = Loaded({}, {}, [])
    [(rows,)] = db.execute(statements.LOAD, (to_json(domains),)).fetchall()
    for domain, *columns in json.loads(rows.decode("utf-8", "surrogateescape")):
        try:
            loaded.states[domain], needs_correction = read_state(domain, columns, now)
        except MtaStsError as error:
            loaded.damaged[domain] = str(error)
        else:
            if needs_correction:
                loaded.to_correct.append(domain)
    return loaded


def row(domain: Domain, now: float, db: sqlite3.Connection) -> Row | None:
    """Return the row of a domain; None if there is none, or it is damaged."""
    rows = db.execute(statements.ROW, (domain,)).fetchall()
    return next(valid_rows(rows, now), None)


def history(domain: Domain, now: float, db: sqlite3.Connection) -> list[HistoryEntry]:
    """Return the entries of a domain that are not damaged."""
    rows = db.execute(statements.HISTORY, (domain,)).fetchall()
    return [entry for each in rows if (entry := history_entry_of(each, now))]


def page(
    query: RowFilter, after: Domain | None, limit: int, now: float, db: sqlite3.Connection
) -> list[Row]:
    """Return the rows of a page; one that is damaged is left out."""
    last: str = after or ""
    while True:
        given = last, query.now, query.mode, query.expiring_before, query.asked_since, limit
        raw = db.execute(statements.PAGE, given).fetchall()
        if not raw or (rows := list(valid_rows(raw, now))):
            return rows if raw else []
        last = domain_of(raw[-1][0])


def overview(now: float, asked_since: float, db: sqlite3.Connection) -> Overview:
    """Return the numbers of rows."""
    [counts] = db.execute(statements.BY_MODE, (now,)).fetchall()
    oldest = db.execute(statements.OLDEST, (asked_since, now)).fetchall()
    by_mode = dict(zip(Mode, counts, strict=True))
    return Overview(by_mode, next((each[0] for each in oldest), None))


def due(now: float, asked_since: float, limit: int, db: sqlite3.Connection) -> list[Domain]:
    """Return the domains that are due to be fetched."""
    rows = db.execute(statements.DUE, (now, asked_since, now, limit)).fetchall()
    return [domain_of(domain) for (domain,) in rows if isinstance(domain, bytes)]
