"""Which domains are checked, with which policy, and how often.

Pure. Two things want checks: a trial, of each domain with an enforced policy that is asked for; and
exceptions, once a day, to see whether they are still needed. `check_schedule` says when each check
starts, `daemon.checks` makes it. Times are epoch seconds.
"""

from typing import Final, Self

from postfix_mta_sts.config.settings import Settings
from postfix_mta_sts.mtasts.exceptions import PolicyException, Scope, Use, pinned_policy
from postfix_mta_sts.mtasts.lifecycle import DAY, State
from postfix_mta_sts.mtasts.policy import Policy, is_enforced
from postfix_mta_sts.stats.labels import Purpose
from postfix_mta_sts.values import Value

_TRIED: Final = frozenset({None, Use.ENFORCE})
"""The exceptions (None: there is none) beside which a trial tries the published policy."""


class CheckConditions(Value, frozen=True):
    """The settings on which checks depend."""

    enforces_testing: bool = False
    """Whether any of the maps on trial treats mode testing as enforce; without a trial, any map."""
    every: float = 6 * 3600.0
    """`trial.every`."""
    exceptions: bool = True
    """`checks.exceptions`."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Select them from the settings."""
        maps = settings.maps.values()
        on_trial = [each for each in maps if settings.is_on_trial(each)]
        return cls(
            enforces_testing=any(each.enforce_testing for each in on_trial or maps),
            every=settings.trial.every,
            exceptions=settings.checks.exceptions,
        )

    def interval(self, purpose: Purpose) -> float:
        """The seconds between two checks of a domain."""
        return self.every if purpose is Purpose.TRIAL else DAY


class Wanted(Value, frozen=True):
    """A check that is wanted."""

    purpose: Purpose
    policy: Policy
    policy_id: str
    """Empty: the policy is a pin."""
    scope: Scope | None = None
    """The wildcard of the exception that the domain is below."""


def wanted(
    state: State | None,
    exception: PolicyException | None,
    settings: CheckConditions,
    now: float,
    *,
    on_trial: bool,
) -> Wanted | None:
    """The check that a domain needs; None: nothing of it would be enforced.

    `state`: what is known of its policy; `exception`: the one in force; `on_trial`: whether it was
    asked for in a map on trial. A trial tries what would be enforced without it, so also a pin. Of
    an exception that stands in place of a policy it is asked whether the policy would verify again.
    """
    use = exception.use if exception else None
    published = _enforced(state, settings, now, testing=use is Use.ENFORCE)
    if on_trial and exception and use is Use.PIN:
        return Wanted(Purpose.TRIAL, pinned_policy(exception), "")
    if on_trial and published and use in _TRIED:
        return Wanted(Purpose.TRIAL, *published)
    if not (published and exception and settings.exceptions) or use is Use.ENFORCE:
        return None
    scope = exception.scope if exception.scope.startswith("*.") else None
    return Wanted(Purpose.EXCEPTION, *published, scope)


def _enforced(
    state: State | None, settings: CheckConditions, now: float, *, testing: bool
) -> tuple[Policy, str] | None:
    if state is None or state.policy is None or now >= state.expires_at:
        return None
    if is_enforced(state.policy.mode, testing=testing or settings.enforces_testing):
        return state.policy, state.policy_id or ""
    return None
