"""What is known → plain data, and the data of several processes → one.

Border: pure. Times become whole seconds; text is what JSON has of it, made printable where it came
from the network.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from postfix_mta_sts.admin.types import JsonObject, PolicyFilter
from postfix_mta_sts.mtasts.dane import Verdict
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import FetchError, MtaStsError, NoRecordError, OwnFaultError
from postfix_mta_sts.mtasts.lifecycle import BACKOFF_MOST, Failure, State
from postfix_mta_sts.stats import Answer, Snapshot, Source
from postfix_mta_sts.store import HistoryEntry, LastAsked, Overview, Row


def of_state(state: State) -> dict[str, Any]:
    """All that a state says."""
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
        "failure": _of_failure(state.failure),
        "backoffs": [
            {"id": b.policy_id, "count": b.count, "until": round(b.until)} for b in state.backoffs
        ],
        "dane": _of_verdict(state.dane),
    }


def of_entry(domain: Domain, state: State) -> dict[str, Any]:
    """What a list says of a domain."""
    policy = state.policy
    return {
        "domain": domain,
        "mode": policy and policy.mode,
        "id": state.policy_id,
        "mx": list(policy.mx) if policy else [],
        "fetched_at": round(state.fetched_at),
        "checked_at": round(state.checked_at),
        "expires_at": round(state.expires_at),
        "refetch_at": round(state.refetch_at),
        "asked_at": None,
        "asked_count": None,
        "failure": _of_failure(state.failure),
    }


def of_row(row: Row) -> dict[str, Any]:
    """The same, of what is on file."""
    return {**of_entry(row.domain, row.state), **of_asked(row)}


def of_asked(row: Row) -> dict[str, Any]:
    """When a domain was last asked for, and how often."""
    return {"asked_at": round(row.asked_at) or None, "asked_count": row.asked_count}


def of_known(state: State | None, asked: LastAsked | None) -> dict[str, Any]:
    """What a process has in memory: a state, and what is not yet noted on file."""
    return {
        "state": state and of_state(state),
        "asked_at": asked and round(asked.at),
        "asked_count": asked.times if asked else 0,
    }


def asked_of(row: Row | None, known: Iterable[JsonObject]) -> dict[str, Any]:
    """When a domain was last asked for, and how often: what is on file and what is not yet."""
    all_ = [*known, *([of_asked(row)] if row else [])]
    return {
        "asked_at": max((each["asked_at"] for each in all_ if each["asked_at"]), default=None),
        "asked_count": sum(each["asked_count"] for each in all_),
    }


def of_history(history: Iterable[HistoryEntry]) -> list[dict[str, Any]]:
    """The policies that were accepted."""
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


def of_figures(snapshot: Snapshot) -> dict[str, Any]:
    """The numbers of one process or of several, by what a person asks first."""
    answers, sources = Counter[Answer](), Counter[Source]()
    for (answer, source), number in snapshot.answers.items():
        answers[answer] += number
        sources[source] += number
    attempts: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for (stage, code), number in sorted(snapshot.attempts.items()):
        attempts[stage][code] = number
    asked = answers.total() - sources[Source.NONE]
    return {
        "lookups": {
            "by_answer": {answer: answers[answer] for answer in Answer},
            "by_source": {source: sources[source] for source in Source},
            "from_memory": round(sources[Source.MEMORY] / asked, 4) if asked else None,
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
        "not_working": sorted(part for part, number in snapshot.failing.items() if number),
    }


def of_overview(overview: Overview) -> dict[str, Any]:
    """What is on file, in numbers."""
    oldest = overview.oldest_fetched_at
    return {
        "by_mode": dict(overview.by_mode),
        "oldest_fetched_at": None if oldest is None else round(oldest),
    }


def best(known: Sequence[JsonObject], now: float) -> JsonObject | None:
    """Of what several know of one domain, what is served, or would be."""

    def worth(state: JsonObject) -> tuple[bool, int, int]:
        in_force = state["policy"] is not None and now < state["expires_at"]
        return in_force, state["fetched_at"], state["checked_at"]

    return max(known, key=worth, default=None)


def fails(state: State) -> bool:
    """Whether there is something wrong: not where the domain simply has no policy."""
    if state.failure is None:
        return False
    return state.policy is not None or state.failure.code != NoRecordError.code


def merged(entries: Sequence[JsonObject], now: float, idle_after: float) -> JsonObject:
    """One entry, of those that file and memories have of one domain; `overdue` is added to it.

    A failure counts only if it is no older than the policy. Overdue is what is in use, and should
    have been fetched again longer ago than any failure has it wait.
    """
    newest = max(entries, key=lambda entry: (entry["fetched_at"], entry["checked_at"]))
    failed = [e for e in entries if e["failure"] and e["checked_at"] >= newest["fetched_at"]]
    last = max(failed, key=lambda entry: entry["checked_at"], default=None)
    asked = next((entry for entry in entries if entry["asked_at"]), newest)
    in_use = (asked["asked_at"] or 0) >= now - idle_after
    return {
        **newest,
        "asked_at": asked["asked_at"],
        "asked_count": asked["asked_count"],
        "failure": last and last["failure"],
        "overdue": in_use and newest["refetch_at"] + BACKOFF_MOST < now,
    }


def fits(entry: JsonObject, wanted: PolicyFilter, now: float) -> bool:
    """Whether a merged entry is one of those that are to be listed."""
    left = entry["expires_at"] - now
    if left <= 0 or (wanted.expiring_in is not None and left >= wanted.expiring_in):
        return False
    if wanted.failing and not (entry["failure"] or entry["overdue"]):
        return False
    if wanted.mode is None:
        return wanted.failing or entry["mode"] is not None
    return bool(entry["mode"] == wanted.mode)


def _of_verdict(verdict: Verdict | None) -> dict[str, Any] | None:
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


def _of_failure(failure: Failure | None) -> dict[str, Any] | None:
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
"""The step of an attempt in which an error can come up."""
