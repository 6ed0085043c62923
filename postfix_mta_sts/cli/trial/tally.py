"""Count the findings of a trial, and say in one sentence what switching on would do.

Pure. `show` prints it.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from postfix_mta_sts.admin.findings import Finding, Outcome
from postfix_mta_sts.admin.times import ago, counted

NOTHING_HELD, HELD, NOT_KNOWN, USAGE = 0, 1, 3, 64
"""Exit codes; 3 and 64 (EX_USAGE, sysexits.h) are those of `query`."""
_NO_POLICY_KNOWN: Final = (Outcome.UNANSWERED, Outcome.PENDING)
_WITHOUT_POLICY: Final = (Outcome.NO_POLICY, Outcome.UNFETCHED, *_NO_POLICY_KNOWN)
_CHECKED: Final = frozenset({Outcome.HELD, Outcome.DELIVERED, Outcome.UNKNOWN})
_WITH_CAUSE: Final = frozenset(
    {Outcome.HELD, Outcome.UNKNOWN, Outcome.UNFETCHED, Outcome.UNANSWERED}
)


class Tally:
    """The sums of all findings."""

    def __init__(self) -> None:
        self.outcomes: Counter[Outcome] = Counter()
        self.reasons: Counter[tuple[Outcome, str]] = Counter()
        self.look_ups = 0
        self.held_look_ups = 0
        """Those for domains whose mail would be held."""
        self.oldest: int | None = None
        """When the oldest of the checks that count was made, in epoch seconds; and the last."""
        self.last: int | None = None

    def add(self, finding: Finding) -> None:
        """Count a domain."""
        self.outcomes[finding.outcome] += 1
        self.reasons[finding.outcome, _reason(finding)] += 1
        look_ups = finding.look_ups or 0
        self.look_ups += look_ups
        if finding.outcome is Outcome.HELD:
            self.held_look_ups += look_ups
        at = finding.checked_at
        if at is not None and finding.outcome in _CHECKED:
            self.oldest = at if self.oldest is None else min(self.oldest, at)
            self.last = at if self.last is None else max(self.last, at)

    @property
    def with_policy(self) -> int:
        """Domains that have a policy."""
        return self.outcomes.total() - sum(self.outcomes[each] for each in _WITHOUT_POLICY)

    @property
    def exit_code(self) -> int:
        """0 nothing would be held, 1 something would, 3 nothing is known."""
        if self.outcomes[Outcome.HELD]:
            return HELD
        return NOTHING_HELD if self._is_known else NOT_KNOWN

    @property
    def _is_known(self) -> bool:
        """Whether at least one check could tell, or no policy would be enforced at all."""
        if self.outcomes[Outcome.HELD] or self.outcomes[Outcome.DELIVERED]:
            return True
        nothing_learned = self.outcomes.total() == sum(self.outcomes[each] for each in _OPEN)
        return not (self._unchecked or nothing_learned)

    @property
    def _unchecked(self) -> int:
        """Domains whose policy would be enforced, without a check that could tell."""
        return self.outcomes[Outcome.NOT_CHECKED] + self.outcomes[Outcome.UNKNOWN]

    def sentence(self) -> str:
        """What switching on would do, in one sentence without a full stop."""
        policies, held = self.with_policy, self.outcomes[Outcome.HELD]
        if not self._is_known:
            return f"Nothing can be said yet: {self._why_not()}"
        if not policies:
            would = f"Switching on now would hold no mail: {self._without_policy()}"
            return would + self._limit("; as far as is known: ")
        domains = "domain" if policies == 1 else "domains"
        would = f"Switching on now would hold {_to(held, policies)} {domains} with a policy"
        return would + self._limit(", as far as is known: ")

    def _why_not(self) -> str:
        total, number = self.outcomes.total(), self._unchecked
        if not total:
            return "there is no domain with a policy"
        if not number:
            return f"{counted(total, 'domain')}{self._limit(', ')}"
        if self.outcomes[Outcome.UNKNOWN]:
            return f"no check of {counted(number, 'domain')} with an enforced policy could tell"
        subject = "the one domain" if number == 1 else f"none of {number:,} domains"
        return f"{subject} with an enforced policy was {'not ' if number == 1 else ''}checked yet"

    def _without_policy(self) -> str:
        known = self.outcomes.total() - sum(self.outcomes[each] for each in _NO_POLICY_KNOWN)
        if known == 1:
            return "the one domain has no policy that can be had"
        return f"none of {known:,} domains has a policy that can be had"

    def _limit(self, start: str) -> str:
        """How many domains are not known, and why; empty: all are known."""
        parts = ((words, self.outcomes[each]) for each, words in _OPEN.items())
        listed = ", ".join(f"{number:,} {words}" for words, number in parts if number)
        return f"{start}{listed}" if listed else ""

    def lines(self, now: float) -> Iterator[tuple[str, str]]:
        """Yield the sums, with what they count on."""
        if self.look_ups:
            held = f"{self.held_look_ups:,} of them for domains that would be held"
            yield "look-ups", f"{self.look_ups:,}, {held}"
        for outcome, words in _WORDS.items():
            if number := self.outcomes[outcome]:
                yield words, f"{number:,}{self._details(outcome)}"
        if self.oldest is not None and self.last is not None:
            oldest, last = ago(self.oldest, now), ago(self.last, now)
            yield "checked", last if oldest == last else f"the oldest {oldest}, the last {last}"

    def _details(self, outcome: Outcome) -> str:
        reasons = [
            (number, _REASONS.get(why, why))
            for (each, why), number in self.reasons.most_common()
            if each is outcome and why
        ]
        listed = ", ".join(f"{words} {number:,}" for number, words in reasons)
        return f": {listed}" if listed else ""


def _reason(finding: Finding) -> str:
    """A stable word; empty: the outcome says it all."""
    if finding.outcome in _WITH_CAUSE:
        return finding.cause or ""
    return finding.why or ""


def _to(held: int, policies: int) -> str:
    if policies == 1:
        return "mail to the one" if held else "no mail to the one"
    if held == policies:
        return f"mail to all {policies:,}"
    return f"mail to {held or 'none':{',' if held else ''}} of {policies:,}"


_WORDS: Final = {
    Outcome.HELD: "held",
    Outcome.DELIVERED: "delivered",
    Outcome.UNKNOWN: "unknown",
    Outcome.NOT_CHECKED: "not checked",
    Outcome.NOT_ENFORCED: "unchanged",
    Outcome.NO_POLICY: "no policy",
    Outcome.UNFETCHED: "not fetched",
    Outcome.UNANSWERED: "unanswered",
    Outcome.PENDING: "left",
}
_OPEN: Final = {
    Outcome.NOT_CHECKED: "not checked yet",
    Outcome.UNKNOWN: "without a result",
    Outcome.UNANSWERED: "without an answer of the DNS",
    Outcome.PENDING: "not looked at",
}
"""What is not known, in the words of the sentence."""
_REASONS: Final = {
    "testing": "mode testing",
    "none": "mode none",
    "dane": "DANE decides",
    "exception": "an exception",
    "no-policy": "policy expired",
    "never": "never yet",
    "older-policy": "not since the policy changed",
}
