"""Convert columns, as `statements` selects them, to states, and states to columns; pure functions.

A row carries a digest of all that a decision depends on, so that bits that a disk has changed are
never served. A row that is damaged raises an error or is skipped: no other module sees it.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from hashlib import blake2b
from struct import pack
from typing import Any, Final, TypeAlias

from postfix_mta_sts.mtasts.backoff import Backoff
from postfix_mta_sts.mtasts.believable import believable
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import InvalidPolicyError, MtaStsError, printable
from postfix_mta_sts.mtasts.lifecycle import Failure, State, restored
from postfix_mta_sts.mtasts.policy import Mode, parse_stored_policy
from postfix_mta_sts.mtasts.record import PolicyId, parse_id
from postfix_mta_sts.mtasts.verdict import from_text, to_text
from postfix_mta_sts.store import HistoryEntry, Row, policy_and_id
from postfix_mta_sts.store.days import DAYS, DayCounts, day_of, lately
from postfix_mta_sts.store.sqlite import statements
from postfix_mta_sts.values import Value, json_decoder, to_json

Columns: TypeAlias = Sequence[Any]
"""Columns of a state as text: policy id, policy, fetched_at, refetch_at and claimed_at as SQLite
literals, the DANE verdict, the failures (either may be None), the digest in hexadecimal."""

_DIGEST_SIZE: Final = 16
_NULL: Final = "NULL"


class Failures(Value, frozen=True):
    """The column `failures`: why the last attempts failed, and what must not be fetched now."""

    failure: Failure | None
    backoffs: tuple[Backoff, ...]
    record_was_gone: bool = False
    """See `State`; rows of earlier versions do not say."""


_NO_FAILURES: Final = Failures(None, ())
_parse_failures = json_decoder(Failures)


def state_of(domain: str, columns: Columns, now: float) -> State:
    """Return the state of a row, without times that cannot be true at `now`.

    Raises `MtaStsError` if the row is damaged.
    """
    return read_state(domain, columns, now)[0]


def read_state(domain: str, columns: Columns, now: float) -> tuple[State, bool]:
    """Return what `state_of` returns, and whether the file should have other times."""
    policy_id, policy, *numbers, dane, failures, digest = columns
    if policy_id is None or policy is None:
        raise _damaged("no policy")
    id_, text = parse_id(policy_id), policy.encode("utf-8", "surrogateescape")
    fetched_at, refetch_at, *claimed_at = times = _times(numbers)
    if digest and bytes.fromhex(digest) != _digest(domain, id_, text, times, (dane, failures)):
        raise _damaged("its content does not fit its digest")
    failed = _failures(failures)
    verdict = from_text(dane) if dane else None  # an unreadable verdict is looked up again
    rest = verdict, failed.failure, failed.backoffs, failed.record_was_gone
    stored = restored(parse_stored_policy(text), id_, fetched_at, refetch_at, *rest)
    state = believable(_with_its_age(stored, next(iter(claimed_at), fetched_at), now), now)
    return state, state is not stored


def _times(literals: Sequence[str]) -> list[float]:
    """Return fetched_at, refetch_at, and claimed_at if there is one."""
    try:
        times = [float(each) for each in literals if each != _NULL]
    except ValueError as error:
        raise _damaged(f"not a time: {printable(str(literals), 80)}") from error
    if len(times) < 2 or not all(map(math.isfinite, times)):
        raise _damaged("a time is missing, or not finite")
    return times


def _failures(text: str | None) -> Failures:
    try:
        return _parse_failures(text) if text else _NO_FAILURES
    except ValueError as error:
        raise _damaged(str(error)) from error


def _with_its_age(stored: State, claimed_at: float, now: float) -> State:
    """Return the state with the time of its fetch, if what the row says is in the future.

    The earliest time at which it was found to be in the future is counted as the time of the fetch,
    and the policy is due to be fetched. `claimed_at` is what was noted: if the clock was only set
    back for a while, that is true again afterwards.
    """
    fetched_at = claimed_at if claimed_at <= now else min(stored.fetched_at, now)
    if fetched_at == stored.fetched_at:
        return stored
    policy, policy_id = policy_and_id(stored)
    refetch_at = min(stored.refetch_at, now) if now < stored.fetched_at else stored.refetch_at
    rest = stored.dane, stored.failure, stored.backoffs, stored.record_was_gone
    return restored(policy, policy_id, fetched_at, refetch_at, *rest)


def _is_dated(columns: Columns, state: State) -> bool:
    """Whether a row was fetched when its state says: no clock that was ahead has noted that."""
    _, _, fetched_at, _, claimed_at, *_ = columns
    return bool(claimed_at == _NULL and float(fetched_at) == state.fetched_at)


def columns_of(domain: str, state: State, claimed_at: float | None) -> tuple[object, ...]:
    """Return the columns of a row as `statements.SAVE` and `UPDATE` take them, digest included.

    `claimed_at`: when the policy was fetched by a clock that was ahead; None if it was not. It
    stays until the next fetch, as nobody knows whether it has become true.
    """
    policy, policy_id = policy_and_id(state)
    fetched_at, refetch_at = float(state.fetched_at), float(state.refetch_at)
    texts = to_text(state.dane) if state.dane else None, failures_to_text(state)
    times = [fetched_at, refetch_at] + ([] if claimed_at is None else [claimed_at])
    digest = _digest(domain, policy_id, policy.text.encode(), times, texts)
    expires_at = fetched_at + policy.max_age
    ends = fetched_at, refetch_at, expires_at, claimed_at
    return (domain, policy_id, policy.text, *ends, *texts, digest)


def failures_to_text(state: State) -> str | None:
    """Return `Failures` of a state as JSON; None if there are none."""
    failures = Failures(state.failure, state.backoffs, state.record_was_gone)
    return None if failures == _NO_FAILURES else to_json(failures)


def domain_of(column: bytes) -> Domain:
    """Return the domain of a row."""
    # Only a valid `Domain` was ever written; one that a bad disk has altered is never looked up.
    return Domain(column.decode("ascii", "backslashreplace"))


def valid_rows(rows: Iterable[Sequence[Any]], now: float) -> Iterator[Row]:
    """Yield the rows that are not damaged."""
    for domain, asked_at, asked_count, *others in rows:
        days, columns = others[:DAYS], others[DAYS:]
        # `load` removes such a row. The other errors: a column has an impossible type.
        with suppress(MtaStsError, ValueError, TypeError, AttributeError):
            texts = [decoded(each) for each in columns]
            state = state_of(domain.decode(), texts, now)
            asked = min(float(asked_at), now), int(asked_count), _day_counts(days, now)
            yield Row(domain_of(domain), state, *asked, is_dated=_is_dated(texts, state))


def day_columns(counts: DayCounts) -> list[int | None]:
    """Return the day columns of a row."""
    columns: list[int | None] = [None] * DAYS
    for day, number in counts:
        columns[day % DAYS] = day + (number << statements.DAY_BITS)
    return columns


def _day_counts(columns: Iterable[Any], now: float) -> DayCounts:
    """Return the look-ups of the last days; one of the future was noted by a clock ahead."""
    numbers = [each for each in columns if isinstance(each, int)]
    counts = ((each & statements.DAY_MASK, each >> statements.DAY_BITS) for each in numbers)
    return lately(each for each in counts if each[0] <= day_of(now))


def history_entry_of(row: Sequence[Any], now: float) -> HistoryEntry | None:
    """Return the entry of a row of the table `history`; None if it is damaged."""
    try:
        policy_id, mode, mx = (text.decode("ascii") for text in row[:3])
        seen = (min(float(at), now) for at in row[3:])
        return HistoryEntry(PolicyId(policy_id), Mode(mode), tuple(mx.split()), *seen)
    except ValueError:
        return None


def decoded(column: bytes | None) -> str | None:
    """Return a column of text, which need not be UTF-8, as a string."""
    return None if column is None else column.decode("utf-8", "surrogateescape")


def _digest(
    domain: str,
    policy_id: str,
    policy: bytes,
    times: Sequence[float],
    texts: Sequence[str | None],
) -> bytes:
    """Return the digest of all that a decision depends on; it is no secret."""
    parts = [domain.encode(), policy_id.encode(), policy]
    parts += [b"" if text is None else text.encode("utf-8", "surrogateescape") for text in texts]
    head = pack(f">{len(parts)}I{len(times)}d", *map(len, parts), *times)
    return blake2b(head + b"".join(parts), digest_size=_DIGEST_SIZE).digest()


def _damaged(reason: str) -> InvalidPolicyError:
    return InvalidPolicyError(0, f"the row is damaged: {reason}")
