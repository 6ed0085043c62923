"""Which domains were asked for, when and how often, until that is written to the store.

And which of them may need a check, until `daemon.checks` takes them.
"""

import asyncio
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Final, TypeAlias

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.store import LastAsked

NOTES_LIMIT: Final = 50_000
"""Domains with a note, 9 MiB: so many in one minute are a flood of names. The oldest are dropped, a
few at a time: to find them, a dict skips those removed before."""
_DROPPED: Final = 500

TakeUsage: TypeAlias = Callable[[Mapping[Domain, LastAsked]], None]
"""Gets the notes of the time since it was called last; returns at once."""


class Usage:
    """Notes since the last `take`; times are epoch seconds."""

    def __init__(self) -> None:
        self._asked: dict[Domain, LastAsked] = {}
        self._asked_once = LastAsked(0.0, 1)
        self._to_check: dict[Domain, bool] = {}
        self.has_checks = asyncio.Event()
        """Set by `note_check`; the one that waits for it clears it."""

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

    def note_check(self, domain: Domain, *, on_trial: bool) -> None:
        """Note that a domain was asked for that may need a check; `on_trial`: in a map on trial."""
        if domain in self._to_check or len(self._to_check) < NOTES_LIMIT:
            self._to_check[domain] = on_trial or self._to_check.get(domain, False)
            self.has_checks.set()

    def take_checks(self) -> dict[Domain, bool]:
        """Return the notes of `note_check`, domain → `on_trial`, and start again without any."""
        noted, self._to_check = self._to_check, {}
        return noted
