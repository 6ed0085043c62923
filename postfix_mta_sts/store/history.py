"""The history of a domain: the policies that were accepted, bounded in number and in bytes."""

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Final

from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.mtasts.policy import Mode, shortened
from postfix_mta_sts.store import MAX_HISTORY, HistoryEntry, policy_and_id
from postfix_mta_sts.values import replace

MX_BYTES: Final = 1024
"""Bytes of the patterns that an entry keeps, about 30 of them; a policy may have 64 KiB."""


def history_entry(state: State) -> HistoryEntry:
    """Return the entry of the policy in a state; raise `ValueError` for an absence."""
    policy, policy_id = policy_and_id(state)
    mx = shortened(policy.mx, MX_BYTES)
    return HistoryEntry(policy_id, policy.mode, mx, state.fetched_at, state.fetched_at)


def merge_history(history: Iterable[HistoryEntry], new: HistoryEntry) -> list[HistoryEntry]:
    """Add an entry to a history, oldest first; entries of the same policy become one."""
    same = [e for e in history if _identity(e) == _identity(new)]
    others = [e for e in history if _identity(e) != _identity(new)]
    merged = replace(
        new,
        seen_from=min(e.seen_from for e in (new, *same)),
        seen_to=max(e.seen_to for e in (new, *same)),
    )
    return sorted([*others, merged], key=attrgetter("seen_to"))[-MAX_HISTORY:]


def joined_histories(
    ours: Sequence[HistoryEntry], theirs: Sequence[HistoryEntry]
) -> Sequence[HistoryEntry]:
    """Put two histories of one domain together; each has the newest first, as the result has."""
    joined = [*ours][::-1]
    for entry in theirs[::-1]:
        joined = merge_history(joined, entry)
    return joined[::-1]


def _identity(entry: HistoryEntry) -> tuple[str, Mode, tuple[str, ...]]:
    return entry.policy_id, entry.mode, entry.mx
