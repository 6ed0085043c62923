"""Convert rows, as `statements` selects them, to states, and states to columns; pure functions.

A row that a bad disk has altered raises an error or is skipped: no other module sees it.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

from postfix_mta_sts.mtasts.dane import from_text
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import InvalidPolicyError, MtaStsError
from postfix_mta_sts.mtasts.lifecycle import Backoff, Failure, State, restored
from postfix_mta_sts.mtasts.policy import Mode, parse_stored_policy
from postfix_mta_sts.mtasts.record import PolicyId, parse_id
from postfix_mta_sts.store import HistoryEntry, Row
from postfix_mta_sts.values import Value, json_decoder, to_json

Columns: TypeAlias = list[Any]
"""Columns of a state: policy id, policy, fetched_at and refetch_at as text, and the DANE verdict
and the failures as text or None."""


class Failures(Value, frozen=True):
    """The column `failures`: why the last attempts failed, and what must not be fetched now."""

    failure: Failure | None
    backoffs: tuple[Backoff, ...]


_parse_failures = json_decoder(Failures)


def failures_to_text(state: State) -> str | None:
    """Return the failure and the back-offs of a state as JSON; None if there are none."""
    if state.failure is None and not state.backoffs:
        return None
    return to_json(Failures(state.failure, state.backoffs))


def state_of(columns: Columns) -> State:
    """Return the state of a row; raise `MtaStsError` if the row is not valid."""
    policy_id, policy, fetched, refetch, dane, failures = columns
    id_ = parse_id(policy_id)
    try:
        fetched_at, refetch_at = float(fetched), float(refetch)
        failed = _parse_failures(failures) if failures else Failures(None, ())
    except ValueError as error:
        raise InvalidPolicyError(0, f"the row is damaged: {error}") from error
    text = policy.encode("utf-8", "surrogateescape")
    verdict = from_text(dane) if dane else None  # an unreadable verdict is looked up again
    times = fetched_at, refetch_at
    policy = parse_stored_policy(text)
    return restored(policy, id_, *times, verdict, failed.failure, failed.backoffs)


def domain_of(column: bytes) -> Domain:
    """Return the domain of a row."""
    # Only a valid `Domain` was ever written; one that a bad disk has altered is never looked up.
    return Domain(column.decode("ascii", "backslashreplace"))


def valid_rows(rows: Iterable[Sequence[Any]]) -> Iterator[Row]:
    """Yield the rows that hold a valid policy."""
    for domain, asked_at, asked_count, *columns in rows:
        with suppress(MtaStsError):  # `load` removes such a row
            text = [c and c.decode("utf-8", "surrogateescape") for c in columns]
            yield Row(domain_of(domain), state_of(text), asked_at, asked_count)


def history_entry_of(row: Sequence[Any]) -> HistoryEntry:
    """Return the entry of a row of the table `history`."""
    policy_id, mode, mx = (text.decode("ascii", "backslashreplace") for text in row[:3])
    return HistoryEntry(PolicyId(policy_id), Mode(mode), tuple(mx.split()), *row[3:])
