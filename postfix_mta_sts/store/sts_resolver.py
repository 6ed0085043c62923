"""Read the SQLite cache of postfix-mta-sts-resolver; every row passes our own parsers.

The file of another program is only read, and no file is created beside it. The caller decides
where the states are saved. All functions block.

That program keeps in `sts_policy_cache`, in all releases that were examined (0.5.1 to 1.5.1):
domain; ts, the second at which the policy was fetched or its id was last found unchanged; pol_id;
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
from postfix_mta_sts.mtasts.response import MAX_BODY_SIZE
from postfix_mta_sts.values import replace

_ROWS: Final = "SELECT rowid, domain, ts, pol_id, pol_body FROM sts_policy_cache"
# https://sqlite.org/fileformat2.html#the_database_header
_HEADER_SIZE: Final = 100
_FORMAT_VERSIONS: Final = slice(18, 20)
_WAL_MODE: Final = b"\x02\x02"
"""Format versions of a file in WAL mode."""


class ForeignCacheError(Exception):
    """The file is not a readable cache of that program. `str()` is the path and the reason."""


class Refusal(enum.StrEnum):
    """Why a row is not imported."""

    DOMAIN = "invalid domain name"
    POLICY_ID = "invalid policy id"
    POLICY = "invalid policy"
    TIME = "fetch time not in the past"
    EXPIRED = "expired"


class RefusedError(Exception):
    """A row has no policy that is in force; `str()` is one line of printable ASCII."""

    def __init__(self, refusal: Refusal, detail: str) -> None:
        super().__init__(f"{refusal}: {detail}")
        self.refusal = refusal


class ForeignRow(NamedTuple):
    """A row as it was read; text is bytes."""

    number: int
    domain: object
    ts: object
    policy_id: object
    body: object


@contextmanager
def open_cache(path: Path) -> Iterator[Iterator[ForeignRow]]:
    """Open the file at `path`, which the other program may be using, and iterate over its rows.

    Once entered, the file is open: the process may give up its permission to open it. Raises
    `ForeignCacheError`, also from the iterator.
    """
    with ExitStack() as stack:
        with _translate_errors(path):
            # Close it after the connection: closing any descriptor of a file releases its locks.
            file = stack.enter_context(path.open("rb"))
            at_rest = _is_at_rest(path, file)
            before = _time_and_size(file)
            db = stack.enter_context(
                closing(sqlite3.connect(_uri(path, at_rest=at_rest), uri=True))
            )
            db.text_factory = bytes  # `state_of` refuses text that is not UTF-8
            cursor = db.execute(_ROWS)
        yield _rows(path, cursor, lambda: not at_rest or _time_and_size(file) == before)


def state_of(row: ForeignRow, now: float) -> tuple[Domain, State]:
    """Return the domain and the state of a row; raise `RefusedError` if it is not valid.

    The policy keeps its age. It is due to be fetched again: `ts` may be the time of a DNS query
    only, which renews nothing (RFC 8461 §5.1), and the row lacks the original text.
    """
    domain = _domain(row.domain)
    policy_id, policy = _policy_id(row.policy_id), _policy(row.body)
    if not isinstance(row.ts, int) or not 0 <= row.ts <= now:
        raise RefusedError(Refusal.TIME, show_value(row.ts))
    state = restored(policy, policy_id, float(row.ts), float(row.ts))
    if not live(state, now):
        raise RefusedError(Refusal.EXPIRED, f"{now - state.expires_at:.0f} s ago")
    return domain, replace(state, checked_at=now)


def show_value(value: object) -> str:
    """Return the value of a column as printable ASCII."""
    return printable(value if isinstance(value, bytes) else str(value), 80)


def _is_at_rest(path: Path, file: BinaryIO) -> bool:
    """Whether the file is in WAL mode and no program has it open."""
    wal_mode = file.read(_HEADER_SIZE)[_FORMAT_VERSIONS] == _WAL_MODE
    return wal_mode and not Path(f"{path.resolve()}-wal").exists()


def _uri(path: Path, *, at_rest: bool) -> str:
    """Return the URI with which SQLite opens the file (https://sqlite.org/uri.html).

    A file at rest is opened as immutable: otherwise SQLite would create files beside it, which
    might belong to the wrong user. Afterwards `_rows` checks that it has not changed.
    """
    options = "mode=ro&immutable=1" if at_rest else "mode=ro"
    return f"{path.resolve().as_uri()}?{options}"


def _time_and_size(file: BinaryIO) -> tuple[int, int]:
    """Return what changes when the file is written to; a write to its WAL does not count."""
    status = os.fstat(file.fileno())
    return status.st_mtime_ns, status.st_size


def _rows(
    path: Path, cursor: sqlite3.Cursor, unchanged: Callable[[], bool]
) -> Iterator[ForeignRow]:
    with _translate_errors(path):
        for columns in cursor:
            yield ForeignRow(*columns)
        if not unchanged():
            raise ForeignCacheError(
                f"{path}: the other program wrote to the file while it was read; try again"
            )


@contextmanager
def _translate_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ForeignCacheError(f"{path}: {error.strerror}") from error
    except sqlite3.Error as error:
        advice = "name the SQLite file of postfix-mta-sts-resolver (cache.options.filename there)"
        raise ForeignCacheError(f"{path}: {printable(str(error))}; {advice}") from error


def _domain(value: object) -> Domain:
    try:
        return parse_domain(_decode(value))
    except (InvalidDomainError, ValueError) as error:
        raise RefusedError(Refusal.DOMAIN, show_value(value)) from error


def _policy_id(value: object) -> PolicyId:
    try:
        text = _decode(value)
        policy_id = parse_records([b"v=STSv1;id=" + text.encode()])
        if policy_id != text:
            raise InvalidRecordError("more than an id")
    except (MtaStsError, ValueError) as error:
        raise RefusedError(Refusal.POLICY_ID, show_value(value)) from error
    return policy_id


def _policy(value: object) -> Policy:
    try:
        return parse_policy(_rebuild(json.loads(_decode(value))))
    except InvalidPolicyError as error:
        raise RefusedError(Refusal.POLICY, str(error)) from error
    except (ValueError, RecursionError) as error:
        raise RefusedError(Refusal.POLICY, printable(str(error))) from error


def _rebuild(body: object) -> bytes:
    """Rebuild the policy file from its fields; raise `InvalidPolicyError` if that is impossible."""
    if not isinstance(body, dict):
        raise InvalidPolicyError(0, "not a JSON object")
    fields = sorted(body.items(), key=lambda field: field[0] != "version")
    lines = [line for name, value in fields for line in _lines(name, value)]
    text = "".join(f"{line}\n" for line in lines).encode()
    if len(text) > MAX_BODY_SIZE:
        raise InvalidPolicyError(0, f"more than {MAX_BODY_SIZE} bytes")
    return text


def _lines(name: str, value: object) -> Iterator[str]:
    if (name, value) == ("", ""):  # that program stores a blank line as a field
        return
    for each in value if isinstance(value, list) else [value]:
        text = str(each) if type(each) is int else each
        # A value must not become two lines, nor a name become a name and a value.
        if not isinstance(text, str) or ":" in name or any(c in name + text for c in "\r\n"):
            raise InvalidPolicyError(0, f"not a policy field: '{printable(name)}'")
        yield f"{name}: {text}"


def _decode(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8")
    raise ValueError("not text")
