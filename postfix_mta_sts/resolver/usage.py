"""Which domains were asked for, when and how often, until that is written to the store."""

from itertools import islice
from typing import Final

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.store import LastAsked

NOTES_LIMIT: Final = 50_000
"""Domains with a note, 9 MiB: so many in one minute are a flood of names. The oldest are dropped, a
few at a time: to find them, a dict skips those removed before."""
_DROPPED: Final = 500


class Usage:
    """Notes since the last `take`; times are epoch seconds."""

    def __init__(self) -> None:
        self._asked: dict[Domain, LastAsked] = {}
        self._asked_once = LastAsked(0.0, 1)

    def note(self, domain: Domain, times: int, at: float) -> None:
        """Note that a domain was asked for `times` more, last at `at`."""
        before = self._asked.get(domain)
        asked = LastAsked(at, times + (before.times if before else 0))
        if asked.times == 1:  # one object per second for all: there may be 100,000
            if not 0 <= at - self._asked_once.at < 1:
                self._asked_once = asked
            asked = self._asked_once
        self._asked[domain] = asked
        if len(self._asked) > NOTES_LIMIT:
            for oldest in list(islice(self._asked, _DROPPED)):
                del self._asked[oldest]

    def get(self, domain: Domain) -> LastAsked | None:
        """The note of a domain; None if it was not asked for."""
        return self._asked.get(domain)

    def drop(self, domain: Domain) -> None:
        """Remove the note of a domain."""
        self._asked.pop(domain, None)

    def take(self) -> dict[Domain, LastAsked]:
        """Return all notes and start again without any."""
        asked, self._asked = self._asked, {}
        return asked
