"""What is in the records of the shared store: written from values, and parsed to values.

A body is msgpack, a map with the names of the attributes here; a later version may add some, which
this one ignores. A body has the key of its record, so that one under another name is found even
where records are not signed. Nothing of a body is believed: texts of policies are parsed as those
of the network, and names, sizes and times are checked.

Times in bodies are seconds since the epoch by the clock of the store, and so is what the functions
take and return; `clocks` converts them. Only the end of an exception is a date that a person chose,
the same for all clocks.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TypeVar

from postfix_mta_sts.mtasts.check import Check
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import MtaStsError, printable
from postfix_mta_sts.mtasts.exceptions import PolicyException
from postfix_mta_sts.mtasts.policy import is_pattern, parse_policy
from postfix_mta_sts.mtasts.record import parse_id
from postfix_mta_sts.mtasts.sharing import SharedPolicy, is_relay_name
from postfix_mta_sts.store import MAX_HISTORY, HistoryEntry
from postfix_mta_sts.store.checked import NotOursError, checked_check, checked_exception
from postfix_mta_sts.store.fleet.engine import FUTURE, SECOND
from postfix_mta_sts.store.fleet.envelope import Opened
from postfix_mta_sts.store.fleet.errors import RefusedRecordError
from postfix_mta_sts.store.fleet.requests import VERSION_LENGTH, Document, Relay, RelayReport
from postfix_mta_sts.store.history import MX_BYTES
from postfix_mta_sts.store.records import EXCEPTIONS_LIMIT
from postfix_mta_sts.values import Value, msgpack_decoder, replace, to_msgpack

_POLICY_BYTES: Final = 64 * 1024  # RFC 8461 §3.3, as for a policy from its host
_REST: Final = re.compile(r"\+[0-9]{1,5}")  # see `shortened`
_COUNT_LIMIT: Final = 2**53

_T = TypeVar("_T")


class _PolicyBody(Value, frozen=True):
    domain: str
    text: str
    policy_id: str
    given_by: str
    is_own_fetch: bool


class _HistoryBody(Value, frozen=True):
    domain: str
    entries: tuple[HistoryEntry, ...]


class _ExceptionsBody(Value, frozen=True):
    exceptions: tuple[PolicyException, ...]
    written_by: str


class _RelayBody(Value, frozen=True):
    name: str
    report: RelayReport


def policy_body(
    domain: Domain, text: str, policy_id: str, given_by: str, *, is_own_fetch: bool = True
) -> bytes:
    """Write a policy; `given_by` is the name of this relay. `is_own_fetch`: see `SharedPolicy`."""
    return to_msgpack(_PolicyBody(domain, text, policy_id, given_by, is_own_fetch))


def shared_policy(domain: Domain, opened: Opened, now: int) -> SharedPolicy | None:
    """Return the policy of a record; None if it has expired at `now`, microseconds of the store.

    The order of the record is the time of its fetch, from which alone its life follows. Raises
    `RefusedRecordError`, also for a fetch in the future.
    """
    _require_past(opened.order, now)
    body: _PolicyBody = _decode(_parse_policy_body, opened)
    _require_key(domain, body.domain)
    _require_relay(body.given_by)
    with _refusing("policy"):
        text = body.text.encode()
        if len(text) > _POLICY_BYTES:
            raise NotOursError(f"it has more than {_POLICY_BYTES} bytes")
        policy, policy_id = parse_policy(text), parse_id(body.policy_id)
    age = max(0, now - opened.order) / SECOND
    if age >= policy.max_age:
        return None
    return SharedPolicy(policy, policy_id, age, body.given_by, opened.order, body.is_own_fetch)


def history_body(domain: Domain, entries: Sequence[HistoryEntry]) -> bytes:
    """Write the policies that a domain has had; at most `MAX_HISTORY`, as `merge_history` gives."""
    return to_msgpack(_HistoryBody(domain, tuple(entries[-MAX_HISTORY:])))


def history_of(domain: Domain, opened: Opened, now: int) -> tuple[HistoryEntry, ...]:
    """Return the policies that a domain has had, oldest first. Raises `RefusedRecordError`.

    Nothing is decided by a history. So one from the future, written before the clock of the store
    was set back, counts all the same: its policies were seen a minute ago, or earlier.
    """
    body: _HistoryBody = _decode(_parse_history_body, opened)
    _require_key(domain, body.domain)
    if len(body.entries) > MAX_HISTORY:
        raise RefusedRecordError(f"it has more than {MAX_HISTORY} policies")
    with _refusing("history"):
        for entry in body.entries:
            _check_entry(entry, (max(now, opened.order) + FUTURE) / SECOND)
    entries = sorted(body.entries, key=lambda entry: entry.seen_to)
    if opened.order <= now + FUTURE:
        return tuple(entries)
    return tuple(_not_after((now - FUTURE) / SECOND, entry) for entry in entries)


def check_body(check: Check) -> bytes:
    """Write a check."""
    return to_msgpack(check)


def check_of(key: str, opened: Opened, now: int) -> Check:
    """Return the check of the record with this key, a domain. Raises `RefusedRecordError`."""
    _require_past(opened.order, now)
    body: Check = _decode(_parse_check_body, opened)
    with _refusing("check"):
        return checked_check(key, body, now / SECOND)


def document_body(exceptions: Sequence[PolicyException], written_by: str) -> bytes:
    """Write the document of exceptions; its version is the order of the record."""
    return to_msgpack(_ExceptionsBody(tuple(exceptions), written_by))


def document_of(opened: Opened) -> Document:
    """Return the document of exceptions. Raises `RefusedRecordError`, also if one is not valid.

    A document without one of its exceptions would be another decision than the administrator's.
    """
    body: _ExceptionsBody = _decode(_parse_exceptions_body, opened)
    _require_relay(body.written_by)
    if len(body.exceptions) > EXCEPTIONS_LIMIT:
        raise RefusedRecordError(f"it has more than {EXCEPTIONS_LIMIT} exceptions")
    if len({each.scope for each in body.exceptions}) < len(body.exceptions):
        raise RefusedRecordError("it has two exceptions for one scope")
    if any(each.added_at is None for each in body.exceptions):
        raise RefusedRecordError("it has an exception that no command has added")
    with _refusing("exceptions"):
        exceptions = tuple(checked_exception(each.scope, each) for each in body.exceptions)
    return Document(opened.order, exceptions, body.written_by)


def relay_body(name: str, report: RelayReport) -> bytes:
    """Write what a relay says of itself."""
    return to_msgpack(_RelayBody(name, report))


def relay_of(key: str, opened: Opened, now: int) -> Relay:
    """Return what the relay with this name says of itself. Raises `RefusedRecordError`."""
    _require_past(opened.order, now)
    body: _RelayBody = _decode(_parse_relay_body, opened)
    _require_key(key, body.name)
    _require_relay(key)
    report = body.report
    if not _is_line(report.version, VERSION_LENGTH):
        raise RefusedRecordError("its version is no short line of printable ASCII")
    counts = (report.policies, report.waiting, report.exceptions_version)
    if not all(0 <= each < _COUNT_LIMIT for each in counts):
        raise RefusedRecordError("one of its numbers is out of range")
    return Relay(key, report, max(0, now - opened.order) / SECOND)


def _decode(parse: Callable[[bytes], _T], opened: Opened) -> _T:
    try:
        return parse(opened.body)
    except (ValueError, RecursionError) as error:
        reason = printable(str(error))
        raise RefusedRecordError(f"its content cannot be read: {reason}") from None


@contextmanager
def _refusing(what: str) -> Iterator[None]:
    """Turn an error of a grammar into that of a record."""
    try:
        yield
    except (MtaStsError, NotOursError, ValueError) as error:
        raise RefusedRecordError(f"{what}: {printable(str(error))}") from None


def _require_past(order: int, now: int) -> None:
    if order > now + FUTURE:
        seconds = (order - now) // SECOND
        raise RefusedRecordError(f"its time is {seconds} s in the future of the store")


def _require_key(key: str, found: str) -> None:
    if found != key:
        raise RefusedRecordError(f"its content is that of '{printable(found, 80)}'")


def _require_relay(name: str) -> None:
    if not is_relay_name(name):
        raise RefusedRecordError(f"no name of a relay: '{printable(name, 80)}'")


def _check_entry(entry: HistoryEntry, latest: float) -> None:
    parse_id(entry.policy_id)
    names = entry.mx[:-1] if _REST.fullmatch("".join(entry.mx[-1:])) else entry.mx
    if sum(len(each) + 1 for each in names) > MX_BYTES or not all(map(is_pattern, names)):
        raise NotOursError("its mx is no list of patterns")
    if not 0 <= entry.seen_from <= entry.seen_to <= latest:
        raise NotOursError("a time is out of range")


def _not_after(at: float, entry: HistoryEntry) -> HistoryEntry:
    return replace(entry, seen_from=min(entry.seen_from, at), seen_to=min(entry.seen_to, at))


def _is_line(text: str, limit: int) -> bool:
    return 0 < len(text) <= limit and text.isascii() and text.isprintable()


_parse_policy_body = msgpack_decoder(_PolicyBody)
_parse_history_body = msgpack_decoder(_HistoryBody)
_parse_exceptions_body = msgpack_decoder(_ExceptionsBody)
_parse_check_body = msgpack_decoder(Check)
_parse_relay_body = msgpack_decoder(_RelayBody)
