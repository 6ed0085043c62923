"""What stands in place of a policy and a verdict: every use, with and without a trial."""

from itertools import product

import pytest

from postfix_mta_sts.mtasts.decision import Decision
from postfix_mta_sts.mtasts.exceptions import Use
from postfix_mta_sts.mtasts.overrides import NO_OVERRIDE, Override, override
from tests.support.exceptions import exception

IN_FORCE = [
    (Use.IGNORE, Override(Decision.NOT_FOUND)),
    (Use.MAY, Override(Decision.MAY)),
    (Use.ENCRYPT, Override(Decision.ENCRYPT)),
    (Use.ENFORCE, Override(enforce_testing=True)),
    (Use.PIN, Override(Decision.PIN)),
]
ON_TRIAL = [
    (Use.IGNORE, Decision.NOT_FOUND),
    (Use.MAY, Decision.MAY),
    (Use.ENCRYPT, Decision.ENCRYPT),
    (Use.ENFORCE, Decision.NOT_FOUND),
    (Use.PIN, Decision.NOT_FOUND),
]


def mx_of(use: Use) -> tuple[str, ...]:
    """The patterns that an exception needs."""
    return ("mx.test",) if use is Use.PIN else ()


@pytest.mark.parametrize(("use", "expected"), IN_FORCE)
def test_an_exception(use: Use, expected: Override) -> None:
    """It stands in place of the policy alone; `enforce` only makes mode testing count."""
    found = exception(use=use, mx=mx_of(use))
    for trial_dane in (False, True):  # has no effect without a trial
        assert override(found, trial=False, trial_dane=trial_dane) == expected


@pytest.mark.parametrize(("use", "expected"), ON_TRIAL)
def test_an_exception_on_trial(use: Use, expected: Decision) -> None:
    """What may hold mail is on trial as well; what only lets it through is not."""
    found = exception(use=use, mx=mx_of(use))
    for trial_dane in (False, True):
        expects = Override(expected, ignores_dane=trial_dane)
        assert override(found, trial=True, trial_dane=trial_dane) == expects


@pytest.mark.parametrize("use", [Use.MAY, Use.ENCRYPT])
def test_dane_is_ignored_only_by_name(use: Use) -> None:
    """No exception weakens DANE unless it says so."""
    found = exception(use=use, ignores_dane=True)
    for trial, trial_dane in product((False, True), repeat=2):
        assert override(found, trial=trial, trial_dane=trial_dane).ignores_dane


def test_no_exception() -> None:
    """Without a trial nothing stands in place of the policy; on trial, its absence does."""
    for trial_dane in (False, True):
        assert override(None, trial=False, trial_dane=trial_dane) is NO_OVERRIDE
        expected = Override(Decision.NOT_FOUND, ignores_dane=trial_dane)
        assert override(None, trial=True, trial_dane=trial_dane) == expected
