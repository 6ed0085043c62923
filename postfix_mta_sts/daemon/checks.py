"""Check domains behind the replies: for a trial, and whether exceptions are still needed.

`replies` notes domains that were asked for and may need a check, `trial` decides which do,
`check_schedule` when, and `check` finds out what would happen to their mail: it asks the network
process. Nothing waits for a check. One that is lost, with the network process or at the end of the
daemon, is made when its domain is due the next time.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from functools import partial
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from postfix_mta_sts.daemon.check_log import log_check
from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts.check import CANNOT_CHECK, Check, CheckResult
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.exceptions import Exceptions
from postfix_mta_sts.mtasts.lifecycle import DAY, State
from postfix_mta_sts.postfix.answers import Answering
from postfix_mta_sts.resolver.cache import SLICE
from postfix_mta_sts.resolver.check_schedule import (
    KNOWN_LIMIT,
    Schedule,
    is_recent,
    probable_times,
)
from postfix_mta_sts.resolver.resolver import Resolver
from postfix_mta_sts.resolver.trial import CheckConditions, Wanted, wanted
from postfix_mta_sts.stats import Counters
from postfix_mta_sts.stats.labels import Purpose
from postfix_mta_sts.store.failsafe import FailsafeStore
from postfix_mta_sts.values import TrackedValue

if TYPE_CHECKING:
    from postfix_mta_sts.admin.diagnosis.check import CheckSources
    from postfix_mta_sts.daemon.checker import Checker

PAUSE: Final = 1.0
"""Seconds between two looks at the notes: those of a moment are looked at together, and the first
look-up of a domain has mostly ended then."""
ROUND: Final = 3_600.0
"""Seconds between two looks at all exceptions."""
LATELY: Final = 3_600.0
"""Seconds for which a mail server that answered shows that the network lets connections out."""
PATIENCE: Final = 5.0
"""Seconds that the check of a silent server waits for other servers to answer: a refusal comes at
once, and a daemon that has just started knows of no others."""
PAGE: Final = 500
"""Checks that are read from the store at once."""

_log = logging.getLogger(__name__)


async def _to_no_fleet(_: Check) -> None:
    """Give a check to nobody."""


class CheckWorld(TrackedValue, frozen=True):
    """What checks need of the daemon."""

    resolver: Resolver
    store: FailsafeStore
    network: "CheckSources"
    answering: Callable[[], Answering]
    exceptions: Callable[[], Exceptions]
    clock: Callable[[], float]
    counters: Counters
    port: int = 25
    """The port of mail servers; another one is for tests."""
    offer: Callable[[Check], Awaitable[object]] = _to_no_fleet
    """Gives a check to the fleet, if there is one; it never raises."""


class Checks:
    """Makes the checks; `run` is its task."""

    def __init__(self, world: CheckWorld, settings: CheckConditions) -> None:
        self._world = world
        self._settings = settings
        self._schedule = Schedule()
        self._checker: Checker | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._delivered: dict[Domain, float] = {}
        """The last two domains whose mail servers answered, and when."""
        self._has_delivered = asyncio.Event()
        self._unknown: set[Domain] = set()
        """Noted domains of which nothing was known at the last look."""
        self._looked_at: float | None = None
        """When all exceptions were looked at."""

    @property
    def waiting(self) -> int:
        """Domains that wait for their check."""
        return self._schedule.waiting

    @property
    def running(self) -> int:
        """Checks under way."""
        return self._schedule.running

    @property
    def left_out(self) -> int:
        """See `Schedule.left_out`."""
        return self._schedule.left_out

    def reconfigure(self, settings: CheckConditions) -> None:
        """Check by these settings from now on; checks under way are finished."""
        if settings != self._settings:
            self._settings = settings
            self._schedule.clear()
        self._checker = None  # so that it asks Postfix for its settings again
        self._looked_at = None
        self._world.resolver.usage.has_checks.set()

    async def run(self) -> None:
        """Make checks until cancelled; then those under way are lost."""
        try:
            await self._restore()
            while True:
                try:
                    await self._look()
                except Exception as error:  # noqa: BLE001 (the top of a task: the next look may work)
                    event(_log, logging.ERROR, "checks failed, next try soon", exc_info=error)
                self._start_due()
                await self._wait()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _restore(self) -> None:
        """Count the checks of the day before this process: restarts must not add up."""
        now, after = self._world.clock(), None
        since, known = now - max(DAY, self._settings.every), list[tuple[Domain, float]]()
        while len(known) < KNOWN_LIMIT and (
            page := await self._world.store.checks(since, after, PAGE)
        ):
            for each in page:
                self._note_delivered(each)
                times = probable_times(each.checked_at, each.since, self._settings.every, now)
                known += [(each.domain, at) for at in islice(times, KNOWN_LIMIT - len(known))]
            after = page[-1].domain
        self._schedule.restore(known, now)

    async def _wait(self) -> None:
        """Wait until a domain is noted, a limit is over or a round is; then for the pause."""
        noted = self._world.resolver.usage.has_checks
        wait = self._schedule.wait(self._world.clock())
        try:
            async with asyncio.timeout(ROUND if wait is None else min(wait, ROUND)):
                await noted.wait()
        except TimeoutError:
            return
        await asyncio.sleep(PAUSE)
        noted.clear()

    async def _look(self) -> None:
        """Queue the checks that are due."""
        now, usage = self._world.clock(), self._world.resolver.usage
        unknown, self._unknown = self._unknown, set()
        exceptions = self._world.exceptions()
        for number, (domain, on_trial) in enumerate(usage.take_checks().items(), 1):
            state = self._state(domain)
            if self._is_looked_up(domain, state, unknown):
                usage.note_check(domain, on_trial=on_trial)
            else:
                self._add(domain, state, exceptions, now, on_trial=on_trial)
            if number % SLICE == 0:
                await asyncio.sleep(0)
        if self._settings.exceptions and not is_recent(self._looked_at, ROUND, now):
            self._looked_at = now
            await self._look_at_exceptions(now)

    def _is_looked_up(
        self, domain: Domain, state: State | None, unknown: Collection[Domain]
    ) -> bool:
        """Whether its policy may soon be known; the verdict may be known before that.

        A state may also be read from the store just now: so `unknown`, those of the last look.
        """
        if state is None and domain not in unknown:
            self._unknown.add(domain)
            return True
        is_known = state is not None and state.policy is not None
        return not is_known and self._world.resolver.flight(domain) is not None

    async def _look_at_exceptions(self, now: float) -> None:
        """Queue the domains with an exception of their own, whether or not they are asked for."""
        exceptions = self._world.exceptions()
        for scope in {**exceptions.added, **exceptions.configured}:
            domain = Domain(scope)
            if scope.startswith("*.") or not self._schedule.is_due(domain, DAY, now):
                continue
            state = await self._known_state(domain)
            self._add(domain, state, exceptions, now, on_trial=False)

    def _add(
        self,
        domain: Domain,
        state: State | None,
        exceptions: Exceptions,
        now: float,
        *,
        on_trial: bool,
    ) -> None:
        """Queue the check of a domain, if it needs one."""
        exception = exceptions.in_force(domain, now)
        if needed := wanted(state, exception, self._settings, now, on_trial=on_trial):
            self._schedule.add(domain, needed, self._settings.interval(needed.purpose), now)

    def _state(self, domain: Domain) -> State | None:
        entry = self._world.resolver.entry(domain)
        return entry.state if entry else None

    async def _known_state(self, domain: Domain) -> State | None:
        """What is known of a domain, without asking the network."""
        if state := self._state(domain):
            return state
        row = await self._world.store.row(domain)
        return row.state if row else None

    def _start_due(self) -> None:
        while started := self._schedule.start(self._world.clock()):
            domain, needed = started
            task = asyncio.create_task(self._run(domain, needed), name=f"check {domain}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self, domain: Domain, needed: Wanted) -> None:
        """Make a check that has started; then the next one may start."""
        is_made = True
        try:
            is_made = await self._check_if_due(domain, needed)
        except Exception as error:  # noqa: BLE001 (the top of a task: the others go on)
            event(_log, logging.ERROR, "check failed", domain, exc_info=error)
        if is_made:
            self._schedule.end(domain, self._world.clock())
        self._start_due()

    async def _check_if_due(self, domain: Domain, queued: Wanted) -> bool:
        """Return whether a domain was checked; otherwise its check is skipped."""
        on_trial, state = queued.purpose is Purpose.TRIAL, await self._known_state(domain)
        now = self._world.clock()
        exception = self._world.exceptions().in_force(domain, now)
        needed = wanted(state, exception, self._settings, now, on_trial=on_trial)
        if needed is None:  # it may have waited for hours
            self._schedule.skip(domain, None)
            return False
        before = await self._world.store.check(domain)
        interval = self._settings.interval(needed.purpose)
        if before and is_recent(before.checked_at, interval, now):
            self._schedule.skip(domain, before.checked_at)
            return False
        await self._check(domain, needed, before)
        return True

    async def _check(self, domain: Domain, needed: Wanted, before: Check | None) -> None:
        """Make a check, and keep its result."""
        world = self._world
        if self._checker is None:
            # In a thread: these modules take 0.1 s, and most daemons never need them.
            self._checker = (await asyncio.to_thread(_import_checker))(world.network, world.port)
        now = world.clock()

        check = await self._checker.check(
            domain,
            needed,
            world.answering(),
            before,
            now,
            others_answer=partial(self._others_answer, domain),
        )
        self._note_delivered(check)
        world.counters.checks[needed.purpose, check.result] += 1
        log_check(needed.purpose, check, before)
        says_something = check.cause != CANNOT_CHECK
        if before is None or says_something:
            await world.store.put_check(check)
        if says_something:  # what ended a check of this relay must not hide that of another one
            await world.offer(check)

    def _note_delivered(self, check: Check) -> None:
        """Keep the last two domains, whatever the order in which they come."""
        if check.result is CheckResult.DELIVERED:
            found = self._delivered | {check.domain: check.checked_at}
            self._delivered = dict(sorted(found.items(), key=itemgetter(1))[-2:])
            self._has_delivered.set()

    async def _others_answer(self, domain: Domain) -> bool:
        """Whether mail servers of other domains have answered lately, or do so now."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while not self._some_delivered(domain):
                    self._has_delivered.clear()
                    await self._has_delivered.wait()
        return self._some_delivered(domain)

    def _some_delivered(self, domain: Domain) -> bool:
        now = self._world.clock()
        return any(d != domain and is_recent(at, LATELY, now) for d, at in self._delivered.items())


def _import_checker() -> "type[Checker]":
    from postfix_mta_sts.daemon.checker import Checker  # noqa: PLC0415

    return Checker
