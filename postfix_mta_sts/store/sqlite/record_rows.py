"""Exceptions, checks and events in the tables of a SQLite store: functions of its threads.

Each row has its value as JSON. A row that is damaged, or that another program has written, is left
out of what a read returns, and counted. That of an exception has a digest, because it decides what
Postfix is told; see `rows`.
"""

import math
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from hashlib import blake2b
from typing import Any, Final, Generic, NamedTuple, TypeVar

from postfix_mta_sts.mtasts.check import Check
from postfix_mta_sts.mtasts.domain import Domain, parse_domain
from postfix_mta_sts.mtasts.errors import InvalidDomainError, printable
from postfix_mta_sts.mtasts.exceptions import InvalidExceptionError, PolicyException, Scope
from postfix_mta_sts.mtasts.weakening import Weakening
from postfix_mta_sts.store.checked import (
    NotOursError,
    checked_check,
    checked_exception,
    require_dates,
    require_printable,
)
from postfix_mta_sts.store.records import EXCEPTIONS_LIMIT, Changes, FleetNotes
from postfix_mta_sts.values import json_decoder, to_json

_T = TypeVar("_T")

CONTENT_LIMIT: Final = 16 * 2**10
"""Bytes of a content; those that we write are shorter."""
NOTES_LIMIT: Final = 2**20
"""Characters of the notes about the fleet: two times `EXCEPTIONS_LIMIT` long names, with a mark."""
TRIM_LIMIT: Final = 100
"""Rows that one write removes to make room."""
_DIGEST_SIZE: Final = 16

_CONTENT = f"substr(CAST(content AS TEXT), 1, {CONTENT_LIMIT + 1})"
EXCEPTIONS = f"""
    SELECT CAST(scope AS TEXT), {_CONTENT}, CAST(digest AS BLOB) FROM exceptions
    ORDER BY rowid LIMIT {2 * EXCEPTIONS_LIMIT}
"""  # noqa: S608 (constant columns and a number)
_PUT_EXCEPTION = """
    INSERT INTO exceptions (scope, content, digest)
        SELECT ?1, ?2, ?3 WHERE (SELECT count(*) FROM exceptions WHERE scope != ?1) < ?4
    ON CONFLICT (scope) DO UPDATE SET content = excluded.content, digest = excluded.digest
"""
_REPLACE_EXCEPTION = """
    INSERT INTO exceptions (scope, content, digest) VALUES (?, ?, ?)
    ON CONFLICT (scope) DO UPDATE SET content = excluded.content, digest = excluded.digest
"""
_INSERT_EXCEPTION = "INSERT OR IGNORE INTO exceptions (scope, content, digest) VALUES (?, ?, ?)"
_REMOVE_EXCEPTION = "DELETE FROM exceptions WHERE scope = ?"
_SAID_AT = "SELECT CAST(said_at AS REAL) FROM exceptions_said WHERE id = 1"
_PUT_SAID_AT = """
    INSERT INTO exceptions_said (id, said_at) VALUES (1, ?)
    ON CONFLICT (id) DO UPDATE SET said_at = excluded.said_at
"""
# In the table of notes, whose column keeps a text as it is, so that the schema stays the same.
_FLEET_NOTES = f"""
    SELECT substr(CAST(said_at AS TEXT), 1, {NOTES_LIMIT + 1}) FROM exceptions_said WHERE id = 2
"""  # noqa: S608 (a constant number)
_PUT_FLEET_NOTES = """
    INSERT INTO exceptions_said (id, said_at) VALUES (2, ?)
    ON CONFLICT (id) DO UPDATE SET said_at = excluded.said_at
"""
_PUT_CHECK = """
    INSERT INTO checks (domain, checked_at, content) VALUES (?, ?, ?)
    ON CONFLICT (domain) DO UPDATE SET
        checked_at = excluded.checked_at, content = excluded.content
"""
# The count is that of an index with a few bytes for each row: 0.3 ms for 100,000.
_TRIM_CHECKS = f"""
    DELETE FROM checks WHERE rowid IN (
        SELECT rowid FROM checks ORDER BY checked_at
        LIMIT max(0, min({TRIM_LIMIT}, (SELECT count(*) FROM checks) - ?))
    )
"""  # noqa: S608 (a constant number)
_CHECK = f"SELECT CAST(domain AS TEXT), {_CONTENT} FROM checks WHERE domain = ?"  # noqa: S608 (the same)
# The plus sign: by the other index, each page would sort all rows.
_CHECKS = f"""
    SELECT CAST(domain AS TEXT), {_CONTENT} FROM checks
    WHERE domain > ? AND +checked_at >= ? ORDER BY domain
"""  # noqa: S608 (the same)
FORGET_CHECK = "DELETE FROM checks WHERE domain = ?"
_PUT_WEAKENING = "INSERT INTO weakenings (at, content) VALUES (?, ?)"
_TRIM_WEAKENINGS = """
    DELETE FROM weakenings WHERE number <= (SELECT max(number) FROM weakenings) - ?
"""
_WEAKENINGS = f"""
    SELECT CAST(number AS TEXT), {_CONTENT} FROM weakenings
    WHERE at >= ? ORDER BY at DESC, number DESC LIMIT ?
"""  # noqa: S608 (the same)


class Decoded(NamedTuple, Generic[_T]):
    """The values of some rows."""

    values: list[_T]
    damaged: list[str]
    """Why a row cannot be used, for each such row."""


def exceptions(db: sqlite3.Connection) -> Decoded[PolicyException]:
    """Return the exceptions, in the order in which they were added."""
    return valid_exceptions(db.execute(EXCEPTIONS).fetchall())


def valid_exceptions(rows: Iterable[Sequence[Any]]) -> Decoded[PolicyException]:
    """Return the exceptions of rows of scope, content and digest."""
    return _valid(exception_of, rows)


def put_exception(exception: PolicyException, db: sqlite3.Connection) -> int:
    """Add or replace an exception; return 0 if there are too many."""
    content = to_json(exception)
    given = exception.scope, content, _digest(content.encode()), EXCEPTIONS_LIMIT
    return db.execute(_PUT_EXCEPTION, given).rowcount


def take_exceptions(changes: Changes, notes: FleetNotes, db: sqlite3.Connection) -> int:
    """Do changes of exceptions, and put notes in place of those before."""
    for scope, exception in changes.items():
        if exception:
            content = to_json(exception)
            db.execute(_REPLACE_EXCEPTION, (scope, content, _digest(content.encode())))
        else:
            db.execute(_REMOVE_EXCEPTION, (scope,))
    text = to_json(notes)
    return db.execute(_PUT_FLEET_NOTES, (f"{_digest(text.encode()).hex()} {text}",)).rowcount


def fleet_notes(db: sqlite3.Connection) -> Decoded[FleetNotes]:
    """Return the notes about the fleet, if there are any."""
    rows = db.execute(_FLEET_NOTES).fetchall()
    return _valid(_notes_of, [("notes", content) for (content,) in rows])


def insert_exception(exception: PolicyException, db: sqlite3.Connection) -> int:
    """Add an exception, unless there is one with its scope."""
    content = to_json(exception)
    given = exception.scope, content, _digest(content.encode())
    return db.execute(_INSERT_EXCEPTION, given).rowcount


def remove_exception(scope: Scope, db: sqlite3.Connection) -> int:
    """Remove an exception."""
    return db.execute(_REMOVE_EXCEPTION, (scope,)).rowcount


def said_at(db: sqlite3.Connection) -> float | None:
    """Return what was noted; None if nothing was."""
    at = next((at for (at,) in db.execute(_SAID_AT)), None)
    return at if isinstance(at, float) and math.isfinite(at) else None


def put_said_at(at: float, db: sqlite3.Connection) -> int:
    """Note a time in place of the one before."""
    return db.execute(_PUT_SAID_AT, (at,)).rowcount


def put_check(check: Check, limit: int, db: sqlite3.Connection) -> int:
    """Keep the last check of a domain, and at most `limit` checks."""
    db.execute(_PUT_CHECK, (check.domain, check.checked_at, to_json(check)))
    return db.execute(_TRIM_CHECKS, (limit,)).rowcount


def check(domain: Domain, now: float, db: sqlite3.Connection) -> Decoded[Check]:
    """Return the check of a domain, if there is one."""
    return _valid(_check_of(now), db.execute(_CHECK, (domain,)).fetchall())


def checks(
    since: float, after: Domain | None, limit: int, now: float, db: sqlite3.Connection
) -> Decoded[Check]:
    """Return at most `limit` checks; damaged rows are passed over, and do not count.

    One statement reads them all: a key that is damaged need not be one that can be passed to SQL as
    the last one of a page.
    """
    with closing(db.execute(_CHECKS, (after or "", since))) as rows:
        return _valid(_check_of(now), rows, limit)


def put_weakenings(found: Iterable[Weakening], limit: int, db: sqlite3.Connection) -> int:
    """Keep events, and at most `limit` of them."""
    db.executemany(_PUT_WEAKENING, ((each.at, to_json(each)) for each in found))
    return db.execute(_TRIM_WEAKENINGS, (limit,)).rowcount


def weakenings(since: float, limit: int, db: sqlite3.Connection) -> Decoded[Weakening]:
    """Return the events since then, the newest first."""
    return _valid(_weakening_of, db.execute(_WEAKENINGS, (since, limit)).fetchall())


def exception_of(scope: bytes, content: bytes, digest: bytes) -> PolicyException:
    """Return the exception of a row. Raises an error that `_valid` knows."""
    if digest != _digest(content):
        raise NotOursError("its content does not fit its digest")
    return checked_exception(scope.decode("ascii"), _decode(_parse_exception, content))


def _notes_of(_: str, content: bytes) -> FleetNotes:
    digest, text = content[: 2 * _DIGEST_SIZE], content[2 * _DIGEST_SIZE + 1 :]
    if len(content) > NOTES_LIMIT or digest.decode("ascii") != _digest(text).hex():
        raise NotOursError("they do not fit their digest")
    return _parse_notes(text)


def _check_of(now: float) -> Callable[[bytes, bytes], Check]:
    """Return what reads the row of a check; a time in the future was noted by a clock ahead."""

    def read(domain: bytes, content: bytes) -> Check:
        return checked_check(domain.decode("ascii"), _decode(_parse_check, content), now)

    return read


def _weakening_of(_: bytes, content: bytes) -> Weakening:
    found = _decode(_parse_weakening, content)
    if found.domain != parse_domain(found.domain):
        raise NotOursError("its domain is not in normal form")
    require_printable(found.before, found.after, found.policy_id)
    require_dates(found.at)
    return found


def _valid(
    read: Callable[..., _T], rows: Iterable[Sequence[Any]], limit: float = math.inf
) -> Decoded[_T]:
    """Read rows until `limit` of them are valid."""
    found = Decoded[_T]([], [])
    for row in rows:
        try:
            found.values.append(read(*row))
        except (NotOursError, InvalidDomainError, InvalidExceptionError) as error:
            found.damaged.append(f"{_shown(row[0])}: {error}")
        # A column has an impossible type, or bytes that are no text.
        except (ValueError, TypeError, AttributeError) as error:
            found.damaged.append(f"{_shown(row[0])}: {printable(str(error))}")
        if len(found.values) >= limit:
            break
    return found


def _decode(parse: Callable[[bytes], _T], content: bytes) -> _T:
    if len(content) > CONTENT_LIMIT:
        raise NotOursError(f"its content has more than {CONTENT_LIMIT} bytes")
    return parse(content)


def _shown(key: object) -> str:
    return printable(key if isinstance(key, bytes) else str(key), 80)


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=_DIGEST_SIZE).digest()


_parse_exception = json_decoder(PolicyException)
_parse_notes = json_decoder(FleetNotes)
_parse_check = json_decoder(Check)
_parse_weakening = json_decoder(Weakening)
