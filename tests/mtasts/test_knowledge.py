"""From what is known of a domain to the inputs of `decide`."""

from itertools import product

import pytest

from postfix_mta_sts.mtasts.dane import DaneOutcome, Host, HostState, MxState
from postfix_mta_sts.mtasts.decision import (
    NOT_APPLICABLE,
    NOTHING,
    PENDING,
    DaneFinding,
    Decision,
    Knowledge,
    KnownVerdict,
    PolicyStep,
    decide,
    finding,
    from_memory,
    known_policy,
    known_verdict,
    outcome,
)
from postfix_mta_sts.mtasts.lifecycle import unknown
from postfix_mta_sts.mtasts.policy import Mode
from postfix_mta_sts.mtasts.verdict import after_verdict
from postfix_mta_sts.values import replace
from tests.support.attempts import (
    ABSENT,
    CACHED,
    NOT_FOUND_404,
    UNDECIDED,
    B,
    T,
    after_failed_get,
    fetched,
)
from tests.support.decisions import RULES

SIGNED = DaneOutcome(MxState.SECURE, "MX", (Host("mx1", HostState.USABLE, "TLSA"),), 3600)
VERDICT = after_verdict(None, SIGNED, T)


def test_what_memory_holds() -> None:
    """A state that can be served says how its last attempt ended."""
    assert from_memory(CACHED).step is PolicyStep.ANSWERED
    assert from_memory(ABSENT).step is PolicyStep.ANSWERED
    assert from_memory(UNDECIDED).step is PolicyStep.DNS_FAILED
    failed = after_failed_get(None, NOT_FOUND_404, T)
    assert from_memory(failed).step is PolicyStep.FETCH_FAILED
    assert from_memory(after_failed_get(CACHED, NOT_FOUND_404, T, B)).step is PolicyStep.ANSWERED
    assert from_memory(CACHED).is_complete
    assert not NOTHING.is_complete


def test_an_older_policy_counts_until_it_expires() -> None:
    """While a newer one is looked up, it is in force for as long as its max_age says."""
    asking = Knowledge(CACHED, PolicyStep.GET_PENDING)
    assert known_policy(asking, CACHED.expires_at - 1).mode is Mode.ENFORCE
    assert known_policy(asking, CACHED.expires_at).mode is None


def test_a_policy_that_was_just_fetched_counts() -> None:
    """Its max_age may be 0: it is used for the look-up that fetched it."""
    state = fetched(T, max_age=0)
    assert known_policy(from_memory(state), T).mode is Mode.ENFORCE


def test_a_live_verdict_is_not_pending() -> None:
    """It is used while the next one is looked up, and not after its time."""
    state = replace(unknown(T), dane=VERDICT)
    asking = Knowledge(state, PolicyStep.TXT_PENDING, is_asking_dane=True)
    assert known_verdict(asking, T) == KnownVerdict(DaneFinding.ALL)
    assert outcome(asking, T) == SIGNED
    expired = known_verdict(asking, VERDICT.until)
    assert expired == KnownVerdict(DaneFinding.UNKNOWN, is_pending=True)


def test_a_verdict_that_was_live_in_this_attempt_counts_until_the_next_one() -> None:
    """Also if it has expired, since the clock may have been set; the next one is waited for."""
    state = replace(unknown(T), dane=VERDICT)
    later = VERDICT.until + 1
    idle = Knowledge(state, PolicyStep.GET_PENDING, verdict_was_live=True)
    assert known_verdict(idle, later) == KnownVerdict(DaneFinding.ALL)
    asking = replace(idle, is_asking_dane=True)
    assert known_verdict(asking, later) == KnownVerdict(DaneFinding.ALL, is_pending=True)
    pending = DaneOutcome(MxState.SECURE, "MX", (Host("mx1", HostState.FAILED, "no answer yet"),))
    assert outcome(replace(asking, so_far=pending), later) == SIGNED


def test_what_a_look_up_has_found_so_far() -> None:
    """It counts only when the time is up; without a look-up nothing is known."""
    asking = Knowledge(None, PolicyStep.TXT_PENDING, is_asking_dane=True, so_far=SIGNED)
    assert known_verdict(asking, T) == KnownVerdict(DaneFinding.ALL, is_pending=True)
    assert known_verdict(NOTHING, T) == KnownVerdict(DaneFinding.UNKNOWN)


@pytest.mark.parametrize("mx", [MxState.SECURE, MxState.FAILED])
def test_which_failure_it_was(mx: MxState) -> None:
    """If the MX RRset is signed, DANE may exist; else nothing is known of it."""
    hosts = (Host("mx1", HostState.FAILED, "TLSA"),) if mx is MxState.SECURE else ()
    failed = DaneFinding.HOSTS_FAILED if hosts else DaneFinding.UNKNOWN
    assert finding(DaneOutcome(mx, "MX", hosts)) is failed


def test_knowledge_that_says_nothing() -> None:
    """No look-up can be answered by it before its time is up."""
    for step in PENDING:
        nothing = Knowledge(None, step)
        assert nothing.says_nothing
        for verdict, rules in product([NOT_APPLICABLE, known_verdict(nothing, T)], RULES):
            assert (
                decide(known_policy(nothing, T), verdict, rules, time_is_up=False) is Decision.WAIT
            )
    assert not Knowledge(None, PolicyStep.OWN_FAULT).says_nothing
    assert not Knowledge(None, PolicyStep.TXT_PENDING, so_far=SIGNED).says_nothing


def test_whether_the_policy_is_lacking() -> None:
    """Only if it is not known for a reason that is not the domain's own."""
    assert NOTHING.lacks_policy
    assert Knowledge(ABSENT, PolicyStep.OWN_FAULT).lacks_policy
    assert not Knowledge(CACHED, PolicyStep.GET_PENDING).lacks_policy
    assert not from_memory(UNDECIDED).lacks_policy
