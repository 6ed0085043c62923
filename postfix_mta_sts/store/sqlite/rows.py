"""A row of a SQLite store → what it stands for, if it still stands for anything.

Border: pure; rows as `statements` selects them. Nothing that a bad disk may have made of a row
comes further than this.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

from postfix_mta_sts.mtasts.dane import from_text
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import InvalidPolicyError, MtaStsError
from postfix_mta_sts.mtasts.lifecycle import State, restored
from postfix_mta_sts.mtasts.policy import Mode, parse_policy
from postfix_mta_sts.mtasts.record import PolicyId, parse_id
from postfix_mta_sts.store import HistoryEntry, Row

Raw: TypeAlias = list[Any]
"""A row as it is read: policy id, policy, fetched_at, refetch_at, all of them as text, and DANE's
verdict as text or None."""


def state_of(row: Raw) -> State:
    """The state that a row stands for; raises `MtaStsError` if it stands for none."""
    policy_id, policy, fetched, refetch, dane = row
    id_ = parse_id(policy_id)
    try:
        fetched_at, refetch_at = float(fetched), float(refetch)
    except ValueError as error:
        raise InvalidPolicyError(0, "a column of another type") from error
    text = policy.encode("utf-8", "surrogateescape")
    verdict = from_text(dane) if dane else None  # what is not readable is asked for anew
    return restored(parse_policy(text), id_, fetched_at, refetch_at, verdict)


def domain_of(raw: bytes) -> Domain:
    """The domain that a row is of."""
    # Only a `Domain` was ever written; what has become of it on a bad disk is in no table.
    return Domain(raw.decode("ascii", "backslashreplace"))


def readable(rows: Iterable[Sequence[Any]]) -> Iterator[Row]:
    """Those rows that stand for a valid policy."""
    for domain, asked_at, asked_count, *raw in rows:
        with suppress(MtaStsError):  # `load` removes it
            state = state_of([text and text.decode("utf-8", "surrogateescape") for text in raw])
            yield Row(domain_of(domain), state, asked_at, asked_count)


def seen_of(row: Sequence[Any]) -> HistoryEntry:
    """The policy of which a row of the history tells."""
    policy_id, mode, mx = (text.decode("ascii", "backslashreplace") for text in row[:3])
    return HistoryEntry(PolicyId(policy_id), Mode(mode), tuple(mx.split()), *row[3:])
