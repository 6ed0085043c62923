"""What an administrator puts in place of what a domain publishes: an exception, or a trial.

Pure. `decision` decides by what is found here and by the verdict; nothing here needs to be looked
up, so that an answer which depends on nothing else is given at once.
"""

from typing import Final

from postfix_mta_sts.mtasts.decision import Decision
from postfix_mta_sts.mtasts.exceptions import PolicyException, Use
from postfix_mta_sts.values import Value


class Override(Value, frozen=True):
    """What stands in place of the policy and the verdict of a domain in one map."""

    in_place: Decision | None = None
    """See `decision.Rules`."""
    enforce_testing: bool = False
    """Mode testing is treated as enforce."""
    ignores_dane: bool = False
    """The verdict does not apply."""


NO_OVERRIDE: Final = Override()

_IN_PLACE: Final = {
    Use.IGNORE: Decision.NOT_FOUND,
    Use.MAY: Decision.MAY,
    Use.ENCRYPT: Decision.ENCRYPT,
    Use.PIN: Decision.PIN,
}
_NEVER_HOLDS_MORE: Final = (Decision.MAY, Decision.ENCRYPT)
"""Weaker than what a trial tries out, so that a trial need not suspend it."""


def override(exception: PolicyException | None, *, trial: bool, trial_dane: bool) -> Override:
    """Find what stands in place of what a domain publishes, if this exception is in force.

    On trial, no policy and no pin is enforced; with `trial_dane`, DANE is on trial as well.
    """
    if exception is None:
        return _on_trial(None, ignores_dane=trial_dane) if trial else NO_OVERRIDE
    decision = _IN_PLACE.get(exception.use)
    if trial:
        return _on_trial(decision, ignores_dane=trial_dane or exception.ignores_dane)
    return Override(decision, exception.use is Use.ENFORCE, exception.ignores_dane)


def _on_trial(decision: Decision | None, *, ignores_dane: bool) -> Override:
    in_place = decision if decision in _NEVER_HOLDS_MORE else Decision.NOT_FOUND
    return Override(in_place, ignores_dane=ignores_dane)
