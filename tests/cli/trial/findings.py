"""Findings and checks for the tests of trials."""

from typing import Any, Final

from postfix_mta_sts.admin.findings import Finding, Outcome
from postfix_mta_sts.mtasts.check import Check, CheckResult
from postfix_mta_sts.mtasts.domain import Domain

NOW: Final = 1_790_000_000


def finding(
    domain: str = "good.test",
    outcome: Outcome = Outcome.DELIVERED,
    **more: Any,  # noqa: ANN401 (fields of several types)
) -> Finding:
    """A finding whose check, if it has one, was made at `NOW`."""
    checked = {Outcome.HELD, Outcome.DELIVERED, Outcome.UNKNOWN}
    times: dict[str, Any] = {"checked_at": NOW, "since": NOW} if outcome in checked else {}
    return Finding(domain=domain, outcome=outcome, **{**times, **more})


def held(domain: str = "held.test", **more: str | int) -> Finding:
    """A finding of a domain whose mail would be held."""
    words = {
        "sentence": f"Mail to {domain} is held: no STARTTLS",
        "cause": "no-starttls",
        "fault": "theirs",
    }
    return finding(domain, Outcome.HELD, **{**words, **more})


def check(
    domain: str = "good.test",
    result: CheckResult = CheckResult.DELIVERED,
    policy_id: str = "a",
    at: float = NOW,
) -> Check:
    """A check of a domain."""
    fault = "theirs" if result is CheckResult.HELD else "nobody"
    sentence = f"Mail to {domain} is {result}"
    return Check(Domain(domain), result, sentence, "some-cause", fault, policy_id, at, at)
