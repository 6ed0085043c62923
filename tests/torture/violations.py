"""A violation, the answer that what is known demands, and what a wrong answer breaks."""

import re
from dataclasses import dataclass

from tests.torture.events import DANE, DANE_ONLY, NOT_FOUND, TEMP, Answered, Fault, Policy, Verdict
from tests.torture.knowledge import Knowledge


@dataclass(frozen=True, slots=True)
class Violation:
    """An answer that is not allowed."""

    reason: str
    event: Answered | None
    at: float
    faults: tuple[Fault, ...]
    allowed: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """What violations with one cause share: the reason, the kind of domain, the answer."""
        reason = re.sub(r"[0-9.]+ s\b", "… s", self.reason)
        if self.event is None:
            return reason
        domain = re.sub(r"\d+.*", "", self.event.domain)
        return f"{reason}: {domain}, {self.event.answer.partition(' ')[0]}"


def answer_by(policy: Policy | None, verdict: Verdict | None) -> str:
    """The answer by what is known (docs/dane.md); no verdict: the policy alone decides."""
    by_policy = policy.answer if policy else NOT_FOUND
    match verdict.kind if verdict else None:
        case "all":
            return DANE_ONLY
        case "some":
            return DANE if by_policy == NOT_FOUND else DANE_ONLY
    return by_policy


def reason(domain: Knowledge, event: Answered, *, known: bool) -> str:
    """What a wrong answer breaks, in a few words; `known`: the right one was given before."""
    if event.answer == TEMP:
        return "try again, though no setting says so"
    if event.answer.startswith("secure") and (
        (current := domain.verdicts.current)
        and current.kind in {"all", "some"}
        and event.has_verdict
    ):
        return "MTA-STS over DANE"
    if event.answer.startswith("secure"):
        return "an expired, replaced or unknown policy"
    if known:
        return (
            "what was known is lost" if event.answer == NOT_FOUND else "another answer than known"
        )
    return "a new domain is answered wrong"
