"""Which domains were asked for, when and how often, until that is put on file.

Border: it is only noted here; who asks, and what is made of it, others know.
"""

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.store import LastAsked


class Usage:
    """What was noted since it was last taken; times are epoch seconds."""

    def __init__(self) -> None:
        self._asked: dict[Domain, LastAsked] = {}
        self._once = LastAsked(0.0, 1)

    def note(self, domain: Domain, times: int, at: float) -> None:
        """Note that a domain was asked for so often, last at this time."""
        before = self._asked.get(domain)
        asked = LastAsked(at, times + (before.times if before else 0))
        if asked.times == 1:  # one note for all of a second: there may be 100,000
            if not 0 <= at - self._once.at < 1:
                self._once = asked
            asked = self._once
        self._asked[domain] = asked

    def of(self, domain: Domain) -> LastAsked | None:
        """When and how often a domain was asked for; None: not at all."""
        return self._asked.get(domain)

    def drop(self, domain: Domain) -> None:
        """Let it be as though nobody had asked for a domain."""
        self._asked.pop(domain, None)

    def take(self) -> dict[Domain, LastAsked]:
        """All that was noted; it is noted from the beginning now."""
        asked, self._asked = self._asked, {}
        return asked
