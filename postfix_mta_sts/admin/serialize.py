"""Convert what the daemon knows to plain data for JSON.

Pure. Times become whole epoch seconds. Text from the network has been made printable where it
entered the program.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from postfix_mta_sts.mtasts.backoff import MAX_BACKOFF
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import FetchError, MtaStsError, NoRecordError, OwnFaultError
from postfix_mta_sts.mtasts.lifecycle import Failure, State
from postfix_mta_sts.mtasts.policy import Mode
from postfix_mta_sts.mtasts.verdict import Verdict
from postfix_mta_sts.network.sandbox.confinement import Confinement
from postfix_mta_sts.postfix.answers import Answering
from postfix_mta_sts.postfix.dane import DaneStatus
from postfix_mta_sts.stats import Snapshot
from postfix_mta_sts.stats.labels import SPARED, Answer, Source
from postfix_mta_sts.store import HistoryEntry, LastAsked, Overview, Row
from postfix_mta_sts.store.days import DayCounts, start_of
from postfix_mta_sts.values import to_plain

JsonObject: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PolicyFilter:
    """Which policies to list: those that match every condition that is set."""

    mode: Mode | None = None
    failing: bool = False
    """Only domains whose last attempt failed, including those without a policy for that reason."""
    expiring_in: int | None = None
    """Only policies that expire within this many seconds."""
    asked_within: int | None = None
    """Only domains that were asked for within this many seconds."""


def state_to_json(state: State) -> dict[str, Any]:
    """Convert a whole state."""
    policy = state.policy
    return {
        "policy": policy
        and {
            "id": state.policy_id,
            "mode": policy.mode,
            "mx": list(policy.mx),
            "max_age": policy.max_age,
            "text": policy.text,
        },
        "fetched_at": round(state.fetched_at),
        "expires_at": round(state.expires_at),
        "checked_at": round(state.checked_at),
        "recheck_at": round(state.recheck_at),
        "refetch_at": round(state.refetch_at),
        "failure": _failure_to_json(state.failure),
        "backoffs": [
            {"id": b.policy_id, "count": b.count, "until": round(b.until)} for b in state.backoffs
        ],
        "dane": _verdict_to_json(state.dane),
    }


def usage_to_json(row: Row | None, asked: LastAsked | None) -> dict[str, Any]:
    """Return when a domain was last asked for, and how often.

    `row` has what is stored; `asked` has what is not stored yet.
    """
    stored_at, stored_count = (row.asked_at, row.asked_count) if row else (0.0, 0)
    at, count = (asked.at, asked.times) if asked else (0.0, 0)
    return {"asked_at": round(max(stored_at, at)) or None, "asked_count": stored_count + count}


def _days_to_json(counts: DayCounts) -> dict[str, int]:
    """Convert look-ups of days to an object with dates (UTC)."""
    return {f"{datetime.fromtimestamp(start_of(day), UTC):%Y-%m-%d}": n for day, n in counts}


def history_to_json(history: Iterable[HistoryEntry]) -> list[dict[str, Any]]:
    """Convert the policies that were accepted."""
    return [
        {
            "id": seen.policy_id,
            "mode": seen.mode,
            "mx": list(seen.mx),
            "seen_from": round(seen.seen_from),
            "seen_to": round(seen.seen_to),
        }
        for seen in history
    ]


def snapshot_to_json(snapshot: Snapshot) -> dict[str, Any]:
    """Convert counters and gauges, grouped as an administrator asks for them."""
    answers, sources = Counter[Answer](), Counter[Source]()
    for (answer, source), number in snapshot.answers.items():
        answers[answer] += number
        sources[source] += number
    attempts: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for (stage, code), number in sorted(snapshot.attempts.items()):
        attempts[stage][code] = number
    needed = answers.total() - sources[Source.NONE]
    return {
        "lookups": {
            "by_answer": {answer: answers[answer] for answer in Answer},
            "by_source": {source: sources[source] for source in Source},
            "from_memory": round(sources[Source.MEMORY] / needed, 4) if needed else None,
            "malformed": snapshot.refused,
        },
        "attempts": {"under_way": snapshot.under_way, "ended": attempts},
        "memory": {
            "domains": snapshot.domains,
            "replies": snapshot.replies,
            "evicted": snapshot.evicted,
        },
        "connections": snapshot.connections,
        "store": {
            "failures": snapshot.store_failures,
            "unwritten": snapshot.unwritten,
            "policies_lost": snapshot.policies_lost,
        },
        "log": {
            "unwritten": snapshot.log_lines_unwritten,
            "left_out": snapshot.log_lines_left_out,
        },
        "not_working": sorted(snapshot.failing - SPARED),
        "degraded": sorted(snapshot.failing & SPARED),
        "reasons": {part: snapshot.reasons.get(part) or None for part in sorted(snapshot.failing)},
    }


def sandbox_to_json(confinement: Confinement | None) -> dict[str, Any] | None:
    """Convert what the sandbox of the network process holds; None: no process is ready."""
    return None if confinement is None else to_plain(confinement)


def dane_to_json(status: DaneStatus) -> dict[str, Any]:
    """Convert whether DANE is on, and why."""
    return {
        "on": status.on,
        "reason": status.reason,
        "advice": status.advice,
        "needs_attention": status.needs_attention,
    }


def trial_to_json(answering: Answering) -> dict[str, Any]:
    """Convert in which maps policies are on trial; `other`: in those that no setting names."""
    return {
        "maps": {each.name: each.reply_format.trial for each in answering.maps},
        "other": answering.other.reply_format.trial,
    }


def overview_to_json(overview: Overview) -> dict[str, Any]:
    """Convert the numbers of policies in the store."""
    oldest = overview.oldest_fetched_at
    return {
        "by_mode": dict(overview.by_mode),
        "oldest_fetched_at": None if oldest is None else round(oldest),
    }


def best(states: Iterable[State], now: float) -> State | None:
    """Return the state, of several of one domain, that the daemon serves or would serve."""

    def worth(state: State) -> tuple[bool, float, float]:
        return in_force(state, now), state.fetched_at, state.checked_at

    return max(states, key=worth, default=None)


def in_force(state: State, now: float) -> bool:
    """Whether a state holds a policy that has not expired."""
    return state.policy is not None and now < state.expires_at


def fails(state: State) -> bool:
    """Whether the last attempt failed. That a domain publishes no policy is not a failure."""
    if state.failure is None:
        return False
    return state.policy is not None or state.failure.code != NoRecordError.code


def entry_to_json(
    domain: Domain, row: Row | None, failing: State | None, now: float, idle_after: float
) -> dict[str, Any]:
    """Return one entry of the policy list, from the stored row and the failing state in memory.

    One of the two may be missing. A failure counts only if it is no older than the policy.
    `overdue`: the policy is in use, and has been due for renewal for longer than any back-off.
    """
    states = [state for state in (row.state if row else None, failing) if state]
    newest = max(states, key=lambda state: (state.fetched_at, state.checked_at))
    failed = [s for s in states if s.failure and s.checked_at >= newest.fetched_at]
    last = max(failed, key=lambda state: state.checked_at, default=None)
    in_use = row is not None and row.asked_at >= now - idle_after
    return {
        "domain": domain,
        "mode": newest.policy and newest.policy.mode,
        "id": newest.policy_id,
        "mx": list(newest.policy.mx) if newest.policy else [],
        "fetched_at": round(newest.fetched_at),
        "checked_at": round(newest.checked_at),
        "expires_at": round(newest.expires_at),
        "refetch_at": round(newest.refetch_at),
        "asked_at": (round(row.asked_at) or None) if row else None,
        "asked_count": row.asked_count if row else None,
        "asked_days": _days_to_json(row.asked_days if row else ()),
        "failure": _failure_to_json(last.failure if last else None),
        "overdue": in_use and newest.refetch_at + MAX_BACKOFF < now,
    }


def fits(entry: JsonObject, wanted: PolicyFilter, now: float) -> bool:
    """Whether an entry of the policy list matches the filter."""
    left = entry["expires_at"] - now
    if left <= 0 or (wanted.expiring_in is not None and left >= wanted.expiring_in):
        return False
    if wanted.failing and not (entry["failure"] or entry["overdue"]):
        return False
    if wanted.mode is None:
        return wanted.failing or entry["mode"] is not None
    return bool(entry["mode"] == wanted.mode)


def _verdict_to_json(verdict: Verdict | None) -> dict[str, Any] | None:
    if verdict is None:
        return None
    hosts = verdict.outcome.hosts
    return {
        "kind": verdict.kind,
        "reason": verdict.reason,
        "hosts": [{"name": host.name, "state": host.state, "step": host.step} for host in hosts],
        "found_at": round(verdict.found_at),
        "recheck_at": round(verdict.recheck_at),
        "until": round(verdict.until),
        "failure": verdict.failure,
    }


def _failure_to_json(failure: Failure | None) -> dict[str, Any] | None:
    if failure is None:
        return None
    return {
        "code": failure.code,
        "stage": _STAGES.get(failure.code),
        "result": failure.result,
        "reason": failure.reason,
        "count": failure.count,
        "since": round(failure.since),
    }


def _codes(root: type[MtaStsError]) -> Iterator[str]:
    if "code" in vars(root):
        yield root.code
    for each in root.__subclasses__():
        yield from _codes(each)


_STAGES: Final = {
    **dict.fromkeys(_codes(MtaStsError), "dns"),
    **dict.fromkeys(_codes(FetchError), "https"),
    OwnFaultError.code: "own",
}
"""The stage of an attempt in which each error can occur, by its code."""
