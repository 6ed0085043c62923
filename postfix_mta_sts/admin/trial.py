"""What the daemon reports of a trial: domains that were asked for, each with its last check.

It joins the policy list with the checks of this relay and of its fleet, all ordered by domain and
read page by page, so that no list is ever in memory as a whole.
"""

from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final, Self, TypeAlias

from postfix_mta_sts.admin.findings import Finding, Policed, judge, with_check
from postfix_mta_sts.admin.fleet.asking import Fleet
from postfix_mta_sts.admin.fleet.checks import SharedChecks
from postfix_mta_sts.admin.serialize import JsonObject, PolicyFilter
from postfix_mta_sts.admin.times import day
from postfix_mta_sts.config.settings import Settings
from postfix_mta_sts.mtasts.check import Check
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.exceptions import NO_EXCEPTIONS, Exceptions, Use
from postfix_mta_sts.mtasts.policy import Mode
from postfix_mta_sts.postfix.maps import served_name
from postfix_mta_sts.resolver.trial import CheckConditions
from postfix_mta_sts.store.records import AdminRecords
from postfix_mta_sts.values import to_plain

PAGE: Final = 500
"""Checks read at once; one takes less than 1 KiB."""
_BY_DANE: Final = frozenset({"dane", "dane-unknown"})
"""Why a policy changes nothing; see `admin.answer.why`."""

Why: TypeAlias = Callable[[], str | None]
Policies: TypeAlias = Callable[[PolicyFilter], AsyncGenerator[tuple[JsonObject, Why]]]


@dataclass(frozen=True, slots=True)
class TrialFacts:
    """The settings that the report is about."""

    on: tuple[str, ...] = ()
    """Maps in which policies are on trial."""
    off: tuple[str, ...] = ("postfix",)
    dane: bool = False
    """Whether DANE is on trial, too."""
    every: float = 0.0
    """Seconds between two checks of a domain."""
    enforces_testing: bool = False
    """See `CheckConditions`: what was not checked cannot be reported."""
    exceptions: Exceptions = NO_EXCEPTIONS

    @classmethod
    def of(cls, settings: Settings, exceptions: Exceptions) -> Self:
        """The facts of these settings, with all exceptions."""
        maps = _maps(settings)
        return cls(
            tuple(name for name, on in maps.items() if on),
            tuple(name for name, on in maps.items() if not on),
            settings.trial.dane,
            settings.trial.every,
            CheckConditions.of(settings).enforces_testing,
            exceptions,
        )


def _maps(settings: Settings) -> Mapping[str, bool]:
    """Whether each map is on trial: those with a name, and listeners without names."""
    named = {name: settings.is_on_trial(each) for name, each in settings.maps.items()}
    unnamed = (served_name(each) for each in settings.listen if each.wire == "tcp_table")
    return {**named, **dict.fromkeys(unnamed, settings.trial.enabled)}


class Trial:
    """Reports over the control socket; `policies` is `Control.policies_on_trial`."""

    def __init__(
        self,
        policies: Policies,
        records: AdminRecords,
        facts: Callable[[], TrialFacts],
        clock: Callable[[], float],
        fleet: Callable[[], Fleet | None] = lambda: None,
    ) -> None:
        self._fleet = fleet
        self._policies = policies
        self._records = records
        self._facts = facts
        self._clock = clock

    async def report(self, within: int) -> AsyncGenerator[JsonObject]:
        """Report on the domains that were asked for in the last `within` seconds.

        First an object with the facts, then one for each domain (`Finding`), ordered by domain. If
        the shared store cannot be read, there is an object `{"incomplete": …}` behind them. If that
        of this relay cannot be, the last object is `{"error": …}`.
        """
        facts, now = self._facts(), self._clock()
        first_day = day(max(0.0, now - within))
        yield {"trial": facts_to_json(facts), "first_day": first_day}
        checks, shared = _Checks(self._records), SharedChecks(self._fleet())
        pinned = await self._pinned(facts.exceptions, now - within, now)
        unlisted = _Unlisted(pinned, checks, shared, facts.exceptions, now - within, now)
        async with aclosing(self._policies(PolicyFilter(asked_within=within))) as entries:
            async for entry, why in entries:
                if "error" in entry:
                    yield entry
                    return
                domain = entry["domain"]
                async for each in unlisted.before(domain):
                    yield to_plain(each)
                unlisted.leave_out(domain)
                check = _telling(await checks.of(domain), await shared.of(domain), entry["id"])
                is_dane = not facts.dane and why() in _BY_DANE
                policed = _policed(entry, facts, now, is_dane=is_dane)
                yield _finding(entry, policed, check, first_day)
        async for each in unlisted.before(None):
            yield to_plain(each)
        if shared.problem:
            yield {"incomplete": shared.problem}

    async def _pinned(self, exceptions: Exceptions, since: float, now: float) -> deque[Finding]:
        """Findings for domains with a pin: one without a policy is in no list of policies.

        Such a domain was asked for, or it would not have been checked.
        """
        found, after = deque[Finding](), None
        pins = (each for each in exceptions.all() if each.use is Use.PIN)
        if not any(each.is_in_force(now) for each in pins):  # most often
            return found
        while page := await self._records.checks(since, after, PAGE):
            after = page[-1].domain
            of_pins = (each for each in page if not each.policy_id)
            found.extend(filter(None, (_of_pin(each, exceptions, now) for each in of_pins)))
        return found


class _Unlisted:
    """Findings for domains that are not in the list of policies, asked for in their order.

    They have a pin, or another relay has checked them since `since`.
    """

    def __init__(
        self,
        pinned: deque[Finding],
        checks: "_Checks",
        shared: SharedChecks,
        exceptions: Exceptions,
        since: float,
        now: float,
    ) -> None:
        self._pinned = pinned
        self._checks = checks
        self._shared = shared
        self._exceptions = exceptions
        self._since = since
        self._now = now

    async def before(self, domain: str | None) -> AsyncGenerator[Finding]:
        """Yield those for domains before `domain`; None: all others."""
        async for check in self._shared.before(domain):
            for each in self._pins(check.domain):
                yield each
            if found := await self._elsewhere(check):
                yield found
        for each in self._pins(domain):
            yield each

    def leave_out(self, domain: str) -> None:
        """Leave a domain out: it is in the list."""
        if self._pinned and self._pinned[0].domain == domain:
            self._pinned.popleft()

    def _pins(self, before: str | None) -> Iterator[Finding]:
        while self._pinned and (before is None or self._pinned[0].domain < before):
            yield self._pinned.popleft()

    async def _elsewhere(self, check: Check) -> Finding | None:
        """What the check of another relay means; None: it is old, or this relay knows better."""
        ours = await self._checks.of(check.domain)
        is_pinned = self._pinned and self._pinned[0].domain == check.domain
        is_ours = ours is not None and ours.checked_at >= check.checked_at
        if is_pinned or is_ours or check.checked_at < self._since:
            return None
        if not check.policy_id:
            return _of_pin(check, self._exceptions, self._now)
        policed = Policed(
            mode=Mode.ENFORCE,  # others are not checked
            policy_id=check.policy_id,
            is_dane=False,
            enforces_testing=False,
            exception=self._exceptions.in_force(check.domain, self._now),
        )
        outcome, why = judge(policed, check)
        found = Finding(domain=check.domain, outcome=outcome, why=why, id=check.policy_id)
        return with_check(found, check)


def _telling(ours: Check | None, theirs: Check | None, policy_id: str | None) -> Check | None:
    """Which check of a domain counts: of those of the policy that it has now, the later one."""
    both = [each for each in (ours, theirs) if each]
    of_policy = [each for each in both if each.policy_id == policy_id]
    return max(of_policy or both, key=attrgetter("checked_at"), default=None)


def _of_pin(check: Check, exceptions: Exceptions, now: float) -> Finding | None:
    """What the check of a pin means; None: it is not in force any more."""
    exception = exceptions.in_force(check.domain, now)
    if exception is None or exception.use is not Use.PIN:
        return None
    policed = Policed(
        mode=None,
        policy_id=None,
        is_dane=False,  # the check tells what DANE does
        enforces_testing=False,
        exception=exception,
    )
    outcome, why = judge(policed, check)
    return with_check(Finding(domain=check.domain, outcome=outcome, why=why), check)


def _policed(entry: JsonObject, facts: TrialFacts, now: float, *, is_dane: bool) -> Policed:
    in_force = entry["mode"] and now < entry["expires_at"]
    return Policed(
        mode=Mode(entry["mode"]) if in_force else None,
        policy_id=entry["id"],
        is_dane=is_dane,
        enforces_testing=facts.enforces_testing,
        exception=facts.exceptions.in_force(Domain(entry["domain"]), now),
    )


def _finding(entry: JsonObject, policed: Policed, check: Check | None, first_day: str) -> Any:  # noqa: ANN401 (what JSON can be)
    outcome, why = judge(policed, check)
    finding = Finding(
        domain=entry["domain"],
        outcome=outcome,
        why=why,
        mode=policed.mode,
        id=policed.policy_id,
        look_ups=sum(number for on, number in entry["asked_days"].items() if on >= first_day),
    )
    return to_plain(with_check(finding, check) if check else finding)


def facts_to_json(facts: TrialFacts) -> dict[str, Any]:
    """The facts for the first object of a report."""
    every = round(facts.every)
    return {"on": list(facts.on), "off": list(facts.off), "dane": facts.dane, "every": every}


class _Checks:
    """Finds the checks of domains that are asked for in their order."""

    def __init__(self, records: AdminRecords) -> None:
        self._records = records
        self._page = deque[Check]()
        self._after: Domain | None = None
        self._is_at_end = False

    async def of(self, domain: Domain) -> Check | None:
        """The last check of a domain, which comes after the last one in order."""
        while True:
            while self._page and self._page[0].domain < domain:
                self._page.popleft()
            if self._page or self._is_at_end:
                break
            self._take(await self._records.checks(0.0, self._after, PAGE))
        self._after = max(self._after or domain, domain)  # a page need not begin before it
        return self._page[0] if self._page and self._page[0].domain == domain else None

    def _take(self, page: Iterable[Check]) -> None:
        self._page.extend(page)
        self._is_at_end = not self._page
        if self._page:
            self._after = self._page[-1].domain
