"""Writes of a SQLite store: functions that the thread of the writing connection calls.

Each returns how many rows it changed, and leaves the transaction to `writer`. `now` is the wall
clock, in seconds since the epoch: a time on file that is later was noted by a clock that was ahead.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import MtaStsError
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.store import LastAsked, keep_verdict
from postfix_mta_sts.store.days import DAYS, day_of
from postfix_mta_sts.store.history import history_entry
from postfix_mta_sts.store.sqlite import statements
from postfix_mta_sts.store.sqlite.record_rows import FORGET_CHECK
from postfix_mta_sts.store.sqlite.rows import Columns, columns_of, decoded, read_state
from postfix_mta_sts.values import to_json

REMOVE_LIMIT: Final = 5000
"""Maximum number of rows that one call removes, so that no save waits long behind it."""


def save(domain: Domain, state: State, asked_at: float, now: float, db: sqlite3.Connection) -> int:
    """Replace the row of a domain, and add the policy to its history; see `Store.save`."""
    entry = history_entry(state)
    seen = entry.policy_id, entry.mode, " ".join(entry.mx), entry.seen_to
    db.execute(statements.ADD_TO_HISTORY, (domain, *seen, now))
    db.execute(statements.TRIM_HISTORY, (domain,))
    before = None if state.dane else _state(domain, now, db)
    columns = columns_of(domain, keep_verdict(before, state), None)
    return db.execute(statements.SAVE, (*columns, asked_at, now, state.checked_at)).rowcount


def note(domain: Domain, state: State, now: float, db: sqlite3.Connection) -> int:
    """Save what an attempt without a new policy has changed; see `Store.note`.

    A row from the future is that of the same policy, too: in memory its time is corrected already.
    """
    for fetched_at, claimed_at in db.execute(statements.TIMES, (domain,)).fetchall():
        if fetched_at == state.fetched_at and isinstance(claimed_at, float | None):
            return db.execute(statements.UPDATE, columns_of(domain, state, claimed_at)).rowcount
        stored = _state(domain, now, db)
        if stored and fetched_at > now and _is_same_policy(stored, state):
            claimed = fetched_at if claimed_at is None else claimed_at
            return db.execute(statements.UPDATE, columns_of(domain, state, claimed)).rowcount
    return 0


def correct(domain: Domain, now: float, db: sqlite3.Connection) -> int:
    """Write what can be believed of the times of a row, so that it is corrected once."""
    for fetched_at, claimed_at in db.execute(statements.TIMES, (domain,)).fetchall():
        if state := _state(domain, now, db):
            is_wrong = claimed_at is None and fetched_at > now
            columns = columns_of(domain, state, fetched_at if is_wrong else claimed_at)
            return db.execute(statements.UPDATE, columns).rowcount
    return 0


def remove_damaged(domain: Domain, now: float, db: sqlite3.Connection) -> int:
    """Remove the row of a domain, unless a good one has replaced it meanwhile."""
    if _columns(domain, db) is None or _state(domain, now, db):
        return 0
    return db.execute(statements.FORGET, (domain,)).rowcount


def touch(asked: Mapping[Domain, LastAsked], now: float, db: sqlite3.Connection) -> int:
    """Save when and how often domains were asked for."""
    by_day: defaultdict[int, dict[Domain, LastAsked]] = defaultdict(dict)  # rarely more than one
    for domain, last in asked.items():
        by_day[day_of(last.at)][domain] = last
    return sum(_touch(day, each, now, db) for day, each in by_day.items())


def _touch(day: int, asked: Mapping[Domain, LastAsked], now: float, db: sqlite3.Connection) -> int:
    statement = statements.TOUCH[day % DAYS]
    return db.execute(statement, (to_json(asked), now, day)).rowcount


def forget(domain: Domain, db: sqlite3.Connection) -> int:
    """Remove the row, the history and the last check of a domain; the check is not counted."""
    db.execute(FORGET_CHECK, (domain,))
    history = db.execute(statements.FORGET_HISTORY, (domain,)).rowcount
    return history + db.execute(statements.FORGET, (domain,)).rowcount


def remove_expired(before: float, db: sqlite3.Connection) -> int:
    """Remove rows that expired before this time, with their history."""
    db.execute(statements.REMOVE_EXPIRED_HISTORY, (before, REMOVE_LIMIT))
    return db.execute(statements.REMOVE_EXPIRED, (before, REMOVE_LIMIT)).rowcount


def remove_idle(before: float, db: sqlite3.Connection) -> int:
    """Remove rows that were last asked for before this time, with their history."""
    db.execute(statements.REMOVE_IDLE_HISTORY, (before, REMOVE_LIMIT))
    return db.execute(statements.REMOVE_IDLE, (before, REMOVE_LIMIT)).rowcount


def _is_same_policy(stored: State, state: State) -> bool:
    return (stored.policy, stored.policy_id) == (state.policy, state.policy_id)


def _columns(domain: Domain, db: sqlite3.Connection) -> Columns | None:
    rows = db.execute(statements.LOAD_ONE, (domain,)).fetchall()
    return [decoded(column) for column in rows[0]] if rows else None


def _state(domain: Domain, now: float, db: sqlite3.Connection) -> State | None:
    """Return the state of a row; None if there is none, or it is damaged."""
    columns = _columns(domain, db)
    try:
        return read_state(domain, columns, now)[0] if columns else None
    except MtaStsError:
        return None
