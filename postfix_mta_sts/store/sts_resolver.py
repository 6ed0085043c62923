"""The SQLite cache of postfix-mta-sts-resolver → states of ours, each judged by our own parsers.

Border: another program's file is read, and never written to, nor is a file made beside it; where
states go is not known here. Everything here blocks.

That program keeps in `sts_policy_cache`, in all releases looked at (0.5.1 to 1.5.1):
domain; ts, the second at which the policy was fetched or its id last found unchanged; pol_id;
pol_body, the fields of the policy as a JSON object, `mx` a list, `max_age` a number.
"""

import enum
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from postfix_mta_sts.mtasts.domain import Domain, parse_domain
from postfix_mta_sts.mtasts.errors import (
    InvalidDomainError,
    InvalidPolicyError,
    InvalidRecordError,
    MtaStsError,
    printable,
)
from postfix_mta_sts.mtasts.lifecycle import State, live, restored
from postfix_mta_sts.mtasts.policy import Policy, parse_policy
from postfix_mta_sts.mtasts.record import PolicyId, parse_records
from postfix_mta_sts.mtasts.response import SIZE_MOST
from postfix_mta_sts.values import replace

_ROWS: Final = "SELECT rowid, domain, ts, pol_id, pol_body FROM sts_policy_cache"
_HEADER: Final = 100
"""Bytes at the start of every SQLite file (https://sqlite.org/fileformat2.html#the_database_header)."""
_FORMAT: Final = slice(18, 20)
_WAL: Final = b"\x02\x02"
"""At `_FORMAT`: the file is written by way of a write-ahead log."""


class ForeignCacheError(Exception):
    """The file cannot be read as a cache of that program. `str()` is the path and the reason."""


class Refusal(enum.StrEnum):
    """Why a row is not taken over."""

    DOMAIN = "no domain name"
    POLICY_ID = "no valid policy id"
    POLICY = "no valid policy"
    TIME = "no time in the past"
    EXPIRED = "expired"


class RefusedError(Exception):
    """A row stands for nothing that could be in force; `str()` is one line of printable ASCII."""

    def __init__(self, refusal: Refusal, detail: str) -> None:
        super().__init__(f"{refusal}: {detail}")
        self.refusal = refusal


class ForeignRow(NamedTuple):
    """A row as it stands there; text is bytes."""

    number: int
    domain: object
    ts: object
    policy_id: object
    body: object


@contextmanager
def opened(path: Path) -> Iterator[Iterator[ForeignRow]]:
    """The rows of the file at `path`, while the other program may be at work on it.

    The file is open when this has been entered, so that its rights are no longer needed. Raises
    `ForeignCacheError`, also when a row is asked for.
    """
    with ExitStack() as stack:
        with _as_peer_errors(path):
            # Closed after the connection: with any other close of the file its locks would go.
            file = stack.enter_context(path.open("rb"))
            at_rest = _is_at_rest(path, file)
            before = _look(file)
            db = stack.enter_context(
                closing(sqlite3.connect(_uri(path, at_rest=at_rest), uri=True))
            )
            db.text_factory = bytes  # text that is not UTF-8 is for `state_of` to refuse
            cursor = db.execute(_ROWS)
        yield _rows(path, cursor, lambda: not at_rest or _look(file) == before)


def state_of(row: ForeignRow, now: float) -> tuple[Domain, State]:
    """The domain and the state that a row stands for; raises `RefusedError`.

    Its age is as it was. It is due to be fetched again: `ts` may be the time of a look at the DNS
    only, which renews nothing (RFC 8461 §5.1), and the text as it was served is not in the row.
    """
    domain = _domain(row.domain)
    policy_id, policy = _policy_id(row.policy_id), _policy(row.body)
    if not isinstance(row.ts, int) or not 0 <= row.ts <= now:
        raise RefusedError(Refusal.TIME, shown(row.ts))
    state = restored(policy, policy_id, float(row.ts), float(row.ts))
    if not live(state, now):
        raise RefusedError(Refusal.EXPIRED, f"{now - state.expires_at:.0f} s ago")
    return domain, replace(state, checked_at=now)


def shown(value: object) -> str:
    """A column's value as printable ASCII."""
    return printable(value if isinstance(value, bytes) else str(value), 80)


def _is_at_rest(path: Path, file: BinaryIO) -> bool:
    """Whether the file is written by way of a log, and nobody has it open."""
    logged = file.read(_HEADER)[_FORMAT] == _WAL
    return logged and not Path(f"{path.resolve()}-wal").exists()


def _uri(path: Path, *, at_rest: bool) -> str:
    """How SQLite is to open the file (https://sqlite.org/uri.html).

    One at rest is read as one that cannot change: only so does SQLite make no file beside it,
    which might then belong to the wrong user. Whether it did change is looked at afterwards.
    """
    options = "mode=ro&immutable=1" if at_rest else "mode=ro"
    return f"{path.resolve().as_uri()}?{options}"


def _look(file: BinaryIO) -> tuple[int, int]:
    """What is different once the file was written to; the log beside it is no part of it."""
    status = os.fstat(file.fileno())
    return status.st_mtime_ns, status.st_size


def _rows(
    path: Path, cursor: sqlite3.Cursor, unchanged: Callable[[], bool]
) -> Iterator[ForeignRow]:
    with _as_peer_errors(path):
        for found in cursor:
            yield ForeignRow(*found)
        if not unchanged():
            raise ForeignCacheError(f"{path}: the other program wrote to it meanwhile; try again")


@contextmanager
def _as_peer_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ForeignCacheError(f"{path}: {error.strerror}") from error
    except sqlite3.Error as error:
        raise ForeignCacheError(f"{path}: {printable(str(error))}") from error


def _domain(value: object) -> Domain:
    try:
        return parse_domain(_decoded(value))
    except (InvalidDomainError, ValueError) as error:
        raise RefusedError(Refusal.DOMAIN, shown(value)) from error


def _policy_id(value: object) -> PolicyId:
    try:
        text = _decoded(value)
        found = parse_records([b"v=STSv1;id=" + text.encode()])
        if found != text:
            raise InvalidRecordError("more than an id")
    except (MtaStsError, ValueError) as error:
        raise RefusedError(Refusal.POLICY_ID, shown(value)) from error
    return found


def _policy(value: object) -> Policy:
    try:
        return parse_policy(_rebuilt(json.loads(_decoded(value))))
    except InvalidPolicyError as error:
        raise RefusedError(Refusal.POLICY, str(error)) from error
    except (ValueError, RecursionError) as error:
        raise RefusedError(Refusal.POLICY, printable(str(error))) from error


def _rebuilt(body: object) -> bytes:
    """The policy file of these fields; raises `InvalidPolicyError` where there can be none."""
    if not isinstance(body, dict):
        raise InvalidPolicyError(0, "not a JSON object")
    fields = sorted(body.items(), key=lambda field: field[0] != "version")
    lines = [line for name, value in fields for line in _lines(name, value)]
    text = "".join(f"{line}\n" for line in lines).encode()
    if len(text) > SIZE_MOST:
        raise InvalidPolicyError(0, f"larger than {SIZE_MOST} bytes")
    return text


def _lines(name: str, value: object) -> Iterator[str]:
    if (name, value) == ("", ""):  # a blank line, which that program keeps as a field
        return
    for each in value if isinstance(value, list) else [value]:
        text = str(each) if type(each) is int else each
        # No line may become two, and no name become a name with a value.
        if not isinstance(text, str) or ":" in name or any(c in name + text for c in "\r\n"):
            raise InvalidPolicyError(0, f"no field: '{printable(name)}'")
        yield f"{name}: {text}"


def _decoded(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8")
    raise ValueError("not text")
