"""What enforcing would do to mail for a domain: a pure decision."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.admin.findings import Finding, Outcome, Policed, judge, with_check
from postfix_mta_sts.mtasts.check import Check, CheckResult
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.exceptions import PolicyException, Use, parse_exception, parse_scope
from postfix_mta_sts.mtasts.policy import Mode
from postfix_mta_sts.values import replace

GOOD = Domain("good.test")
HELD = Check(GOOD, CheckResult.HELD, "Mail is held", "no-starttls", "theirs", "a", 20.4, 10.6)
ENFORCED = Policed(mode=Mode.ENFORCE, policy_id="a", is_dane=False, enforces_testing=False)


def exception(use: Use) -> PolicyException:
    """An exception for the domain."""
    mx = ("mx1.good.test",) if use is Use.PIN else ()
    return parse_exception(parse_scope(GOOD), use, "a reason", None, mx=mx)


@pytest.mark.parametrize("result", CheckResult)
def test_the_check_decides(result: CheckResult) -> None:
    """A check of the policy in force says what would happen."""
    assert judge(ENFORCED, replace(HELD, result=result)) == (Outcome(result.value), None)


def test_no_check() -> None:
    """Without a check of this policy nothing is known, whatever an older one said."""
    assert judge(ENFORCED, None) == (Outcome.NOT_CHECKED, "never")
    for policy_id in ("b", ""):
        older = replace(HELD, policy_id=policy_id)
        assert judge(ENFORCED, older) == (Outcome.NOT_CHECKED, "older-policy")


@pytest.mark.parametrize("mode", [Mode.TESTING, Mode.NONE, None])
def test_other_modes(mode: Mode | None) -> None:
    """What is not enforced changes nothing, unless a map enforces mode testing."""
    policed = replace(ENFORCED, mode=mode)
    assert judge(policed, HELD) == (Outcome.NOT_ENFORCED, mode or "no-policy")
    enforcing = judge(replace(policed, enforces_testing=True), HELD)[0]
    assert enforcing is (Outcome.HELD if mode is Mode.TESTING else Outcome.NOT_ENFORCED)


def test_dane() -> None:
    """Where DANE decides, the policy changes nothing."""
    assert judge(replace(ENFORCED, is_dane=True), HELD) == (Outcome.NOT_ENFORCED, "dane")


@pytest.mark.parametrize("use", [Use.IGNORE, Use.MAY, Use.ENCRYPT])
def test_exceptions_in_place(use: Use) -> None:
    """An exception in place of the policy changes nothing."""
    policed = replace(ENFORCED, exception=exception(use))
    assert judge(policed, HELD) == (Outcome.NOT_ENFORCED, "exception")


def test_exceptions_that_enforce() -> None:
    """`enforce` makes a policy of mode testing count, and a pin needs a check of its own."""
    enforced = replace(ENFORCED, mode=Mode.TESTING, exception=exception(Use.ENFORCE))
    assert judge(enforced, HELD) == (Outcome.HELD, None)
    pinned = replace(ENFORCED, mode=None, policy_id=None, exception=exception(Use.PIN))
    assert judge(pinned, HELD) == (Outcome.NOT_CHECKED, "older-policy")
    assert judge(pinned, replace(HELD, policy_id="")) == (Outcome.HELD, None)


@given(
    st.sampled_from([*Mode, None]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, *map(exception, Use)]),
    st.sampled_from([None, HELD, replace(HELD, policy_id=""), replace(HELD, policy_id="b")]),
)
def test_held_only_by_a_check(
    mode: Mode | None,
    is_dane: bool,  # noqa: FBT001 (hypothesis passes arguments by position)
    enforces_testing: bool,  # noqa: FBT001 (the same)
    applied: PolicyException | None,
    last: Check | None,
) -> None:
    """Nothing is called held without a check of just this policy that said so."""
    policed = Policed(
        mode=mode,
        policy_id="a",
        is_dane=is_dane,
        enforces_testing=enforces_testing,
        exception=applied,
    )
    outcome, why = judge(policed, last)
    if outcome is Outcome.HELD:
        pinned = applied is not None and applied.use is Use.PIN
        assert last
        assert last.policy_id == ("" if pinned else "a")
        assert not is_dane
    assert (why is None) == (outcome not in {Outcome.NOT_CHECKED, Outcome.NOT_ENFORCED})


def test_values_of_a_check() -> None:
    """A finding has the words of its check, and whole seconds."""
    found = with_check(Finding(domain=GOOD, outcome=Outcome.HELD), HELD)
    assert (found.sentence, found.cause, found.fault) == ("Mail is held", "no-starttls", "theirs")
    assert (found.checked_at, found.since) == (20, 11)
