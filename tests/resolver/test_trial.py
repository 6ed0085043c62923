"""Which domains are checked, with which policy."""

import pytest

from postfix_mta_sts.config.settings import CheckSettings, MapSettings, Settings, TrialSettings
from postfix_mta_sts.mtasts.exceptions import PolicyException, Use
from postfix_mta_sts.mtasts.lifecycle import DAY, State
from postfix_mta_sts.mtasts.policy import Mode
from postfix_mta_sts.resolver.trial import CheckConditions, Wanted, wanted
from postfix_mta_sts.stats.labels import Purpose
from postfix_mta_sts.values import replace
from tests.support.exceptions import exception
from tests.support.states import a_policy, a_state
from tests.support.surroundings import START, policy

ENFORCED = a_state(START, START)
TESTING = a_state(START, START, policy=policy("testing"))
NONE = a_state(START, START, policy=policy("none"))
NO_POLICY = replace(ENFORCED, policy=None, policy_id=None)
SCOPE = "good.test"


def purpose(
    state: State | None,
    found: PolicyException | None = None,
    *,
    on_trial: bool = True,
    terms: CheckConditions | None = None,
) -> Purpose | None:
    """What a check of this domain would be for; None: it needs none."""
    needed = wanted(state, found, terms or CheckConditions(), START, on_trial=on_trial)
    return needed.purpose if needed else None


@pytest.mark.parametrize("state", [None, NO_POLICY, TESTING, NONE])
def test_nothing_is_enforced(state: State | None) -> None:
    """Without a policy in mode enforce no mail can be held, so that nothing is checked."""
    assert purpose(state) is None
    assert purpose(state, exception(SCOPE), on_trial=False) is None


def test_expired_policy() -> None:
    """It is not enforced any more."""
    state = a_state(START - 10 * DAY, START, policy=a_policy(max_age=60))
    assert purpose(state) is None


def test_trial() -> None:
    """On trial, the policy is tried with its id; in a map that is not on trial nothing is."""
    needed = wanted(ENFORCED, None, CheckConditions(), START, on_trial=True)
    assert needed == Wanted(Purpose.TRIAL, a_policy(), "id1")
    assert purpose(ENFORCED, on_trial=False) is None


def test_trial_of_testing() -> None:
    """Mode testing is tried where the map or an exception enforces it."""
    terms = CheckConditions(enforces_testing=True)
    assert purpose(TESTING, terms=terms) is Purpose.TRIAL
    assert purpose(TESTING, exception(SCOPE, use=Use.ENFORCE)) is Purpose.TRIAL
    assert purpose(NONE, exception(SCOPE, use=Use.ENFORCE), terms=terms) is None


def test_trial_of_a_pin() -> None:
    """Its names are tried, whatever the domain publishes, and never as its policy."""
    pin = exception(SCOPE, use=Use.PIN, mx=("mx.good.test",))
    needed = wanted(None, pin, CheckConditions(), START, on_trial=True)
    assert needed
    assert (needed.purpose, needed.policy_id) == (Purpose.TRIAL, "")
    assert (needed.policy.mode, needed.policy.mx) == (Mode.ENFORCE, ("mx.good.test",))


@pytest.mark.parametrize("use", [Use.IGNORE, Use.MAY, Use.ENCRYPT])
@pytest.mark.parametrize("on_trial", [True, False])
def test_exception(use: Use, *, on_trial: bool) -> None:
    """The policy that an exception replaces is tried, also on trial, unless that is switched off.

    A trial would not enforce it, so that it is no part of the trial's report.
    """
    found = exception(SCOPE, use=use)
    assert purpose(ENFORCED, found, on_trial=on_trial) is Purpose.EXCEPTION
    off = CheckConditions(exceptions=False)
    assert purpose(ENFORCED, found, on_trial=on_trial, terms=off) is None


def test_exceptions_that_are_not_asked_about() -> None:
    """An exception that enforces more holds no mail that its policy would let through."""
    assert purpose(ENFORCED, exception(SCOPE, use=Use.ENFORCE), on_trial=False) is None


def test_replaced_by_a_pin() -> None:
    """Of a pin it is asked whether what the domain publishes would verify."""
    pin = exception(SCOPE, use=Use.PIN, mx=("mx.good.test",))
    needed = wanted(ENFORCED, pin, CheckConditions(), START, on_trial=False)
    assert needed == Wanted(Purpose.EXCEPTION, a_policy(), "id1")


def test_wildcard() -> None:
    """A domain below a wildcard counts for it."""
    needed = wanted(ENFORCED, exception("*.test"), CheckConditions(), START, on_trial=False)
    assert needed
    assert needed.scope == "*.test"


def test_conditions() -> None:
    """The maps that are on trial decide whether mode testing is enforced; without any, all do."""
    maps = {"a": MapSettings(trial=True), "b": MapSettings(enforce_testing=True)}
    trial = TrialSettings(enabled=True, every=3_600.0)
    some = CheckConditions.of(Settings(maps=maps))
    every = CheckConditions.of(Settings(maps=maps, trial=trial))
    none = CheckConditions.of(Settings(maps={"b": maps["b"]}))
    found = [each.enforces_testing for each in (some, every, none)]
    assert found == [False, True, True]
    assert every.interval(Purpose.TRIAL) == 3_600
    assert every.interval(Purpose.EXCEPTION) == DAY
    off = CheckConditions.of(Settings(checks=CheckSettings(exceptions=False)))
    assert (some.exceptions, off.exceptions) == (True, False)
