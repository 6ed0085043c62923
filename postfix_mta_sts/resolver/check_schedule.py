"""When the checks of domains start: the queue, and the limits.

Pure: `trial` says which checks are wanted, `daemon.checks` makes them. Times are epoch seconds; if
the clock is set back, what seems to lie in the future counts as done now.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.exceptions import Scope
from postfix_mta_sts.mtasts.lifecycle import DAY
from postfix_mta_sts.resolver.trial import Wanted
from postfix_mta_sts.stats.labels import Purpose

CHECKS_AT_ONCE: Final = 4
"""Each has 20 connections at most."""
CHECKS_A_DAY: Final = 2_000
"""In any 24 hours."""
QUEUE_LIMIT: Final = 2_000
"""Domains that wait for their check: those of a day. Exceptions have as many places more."""
BELOW_WILDCARD: Final = 50
"""Domains that are checked in 24 hours for one exception with a wildcard."""
KNOWN_LIMIT: Final = 20_000
"""Domains of which it is remembered when they were checked; of others the store knows."""
SCOPES_LIMIT: Final = 1_000
"""Wildcards whose domains are counted."""


class Schedule:
    """The domains that wait for a check.

    Call `add` for each that may be due, `start` until it returns None, and `end` or `skip` for each
    check that has started.
    """

    def __init__(self) -> None:
        self.left_out = 0
        """Checks that were due and not queued, because of a limit."""
        self._queue: dict[Domain, Wanted] = {}
        self._running: dict[Domain, float] = {}
        self._checked: dict[Domain, float] = {}
        self._started: deque[float] = deque(maxlen=CHECKS_A_DAY)
        self._below: dict[Scope, deque[float]] = {}
        self._now = 0.0

    @property
    def waiting(self) -> int:
        """Domains in the queue."""
        return len(self._queue)

    @property
    def running(self) -> int:
        """Checks that have started and not ended."""
        return len(self._running)

    def restore(self, checked: Iterable[tuple[Domain, float]], now: float) -> None:
        """Count checks that were made before this process started, with their times.

        A domain may be there more than once, see `probable_times`.
        """
        self._note_time(now)
        known = sorted(((min(at, now), domain) for domain, at in checked), key=lambda each: each[0])
        for at, domain in known:
            self._remember(domain, at)
        self._started.extend(at for at, _ in known if is_recent(at, DAY, now))

    def is_due(self, domain: Domain, interval: float, now: float) -> bool:
        """Whether a domain is not under way, nor checked within `interval` seconds."""
        self._note_time(now)
        recent = is_recent(self._checked.get(domain), interval, now)
        return domain not in self._running and not recent

    def add(self, domain: Domain, needed: Wanted, interval: float, now: float) -> None:
        """Queue a check if it `is_due`, and no limit is reached."""
        if not self.is_due(domain, interval, now):
            return
        if domain in self._queue:
            self._queue[domain] = needed  # its policy may have changed
        elif self._has_room(needed.purpose) and self._take_room_below(needed.scope, now):
            self._queue[domain] = needed
        else:
            self.left_out += 1

    def start(self, now: float) -> tuple[Domain, Wanted] | None:
        """Take the next check to start now; None: the queue is empty, or a limit is reached.

        Those for exceptions come first: they are few, and a person waits for them.
        """
        self._note_time(now)
        if not self._queue or len(self._running) >= CHECKS_AT_ONCE or self._is_day_full(now):
            return None
        exceptions = (d for d, each in self._queue.items() if each.purpose is Purpose.EXCEPTION)
        domain = next(exceptions, None) or next(iter(self._queue))
        needed = self._queue.pop(domain)
        self._running[domain] = now
        self._started.append(now)
        return domain, needed

    def end(self, domain: Domain, now: float) -> None:
        """Note that a check has ended; it was made now."""
        self._note_time(now)
        del self._running[domain]
        self._remember(domain, now)

    def skip(self, domain: Domain, checked_at: float | None) -> None:
        """Note that a check that has started was not made, and does not count.

        `checked_at`: because it was made at this time, as the store knows; None: it is not wanted.
        """
        self._started.remove(self._running.pop(domain))
        if checked_at is not None:
            self._remember(domain, min(checked_at, self._now))

    def wait(self, now: float) -> float | None:
        """The seconds until `start` has a check; None: not before another method is called."""
        if not self._queue or len(self._running) >= CHECKS_AT_ONCE:
            return None
        return max(0.0, self._started[0] + DAY - now) if self._is_day_full(now) else 0.0

    def clear(self) -> None:
        """Empty the queue: with other settings, other checks are due."""
        self._queue.clear()

    def _is_day_full(self, now: float) -> bool:
        return len(self._started) == CHECKS_A_DAY and is_recent(self._started[0], DAY, now)

    def _remember(self, domain: Domain, at: float) -> None:
        self._checked.pop(domain, None)
        self._checked[domain] = at
        if len(self._checked) > KNOWN_LIMIT:
            del self._checked[next(iter(self._checked))]

    def _has_room(self, purpose: Purpose) -> bool:
        places = 2 * QUEUE_LIMIT if purpose is Purpose.EXCEPTION else QUEUE_LIMIT
        return len(self._queue) < places

    def _take_room_below(self, scope: Scope | None, now: float) -> bool:
        """Count another domain below a wildcard; return whether it may be checked today."""
        if scope is None:
            return True
        queued = self._below.pop(scope, None) or deque(maxlen=BELOW_WILDCARD)
        self._below[scope] = queued
        if len(self._below) > SCOPES_LIMIT:
            del self._below[next(iter(self._below))]
        if len(queued) == BELOW_WILDCARD and is_recent(queued[0], DAY, now):
            return False
        queued.append(now)
        return True

    def _note_time(self, now: float) -> None:
        """Correct all times if the clock was set back."""
        if now < self._now:
            self._checked = {domain: min(at, now) for domain, at in self._checked.items()}
            self._running = {domain: min(at, now) for domain, at in self._running.items()}
            for times in (self._started, *self._below.values()):
                earlier = [min(at, now) for at in times]
                times.clear()
                times.extend(earlier)
        self._now = now


def probable_times(at: float, since: float, interval: float, now: float) -> Iterator[float]:
    """Yield when a domain was probably checked in the last 24 hours, the last time first.

    Only its last check, of `at`, is known, and `since` when its result is the same. In between it
    may have been checked each `interval`: all of these count, so that restarts do not add up.
    """
    first = max(since, now - DAY)
    yield at
    at = min(at, now)
    while (at := at - interval) >= first:
        yield at


def is_recent(at: float | None, interval: float, now: float) -> bool:
    """Whether something was done less than `interval` seconds ago."""
    return at is not None and 0 <= now - at < interval
