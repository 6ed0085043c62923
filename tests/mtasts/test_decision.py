"""`decide`: the whole table, and every order in which policy and verdict can become known."""

from collections.abc import Iterator
from itertools import product

import pytest

from postfix_mta_sts.mtasts.decision import (
    NOT_APPLICABLE,
    PENDING,
    DaneFinding,
    Decision,
    KnownPolicy,
    KnownVerdict,
    PolicyStep,
    Rules,
    decide,
)
from postfix_mta_sts.mtasts.policy import Mode
from tests.support.decisions import POLICIES, RULES, VERDICTS

T = 1_790_000_000.0
WAIT, SECURE, PIN, DANE_ONLY, DANE, ENCRYPT, MAY, NOT_FOUND, TRY_DANE, TRY_POLICY = Decision

OLDER = [None, *Mode]
ALL_POLICIES = [
    *POLICIES.values(),
    *(KnownPolicy(mode, step) for mode, step in product(Mode, PolicyStep)),
]
"""With and without an older policy in force, for each step."""
ALL_VERDICTS = [KnownVerdict(*each) for each in product(DaneFinding, [False, True])]
"""Each finding, also of a verdict that has expired while the next one is pending."""
SENT = {NOT_FOUND: 0, DANE: 1, SECURE: 2, DANE_ONLY: 2}
"""How strictly mail is sent; what is not sent is not weaker than anything."""


def is_enforced(policy: KnownPolicy, rules: Rules) -> bool:
    """Whether a policy in force asks for authentication in this map."""
    return policy.mode is Mode.ENFORCE or (policy.mode is Mode.TESTING and rules.enforce_testing)


# The table of the design, "DANE beside policies", with the default settings. In this order: a
# policy in mode enforce; in mode testing; no policy; the DNS failed; nothing is known in time.
TABLE = {
    "off, or not applicable": (SECURE, NOT_FOUND, NOT_FOUND, NOT_FOUND, NOT_FOUND),
    "all": (DANE_ONLY, DANE_ONLY, DANE_ONLY, DANE_ONLY, DANE_ONLY),
    "some": (DANE_ONLY, DANE, DANE, DANE, DANE),
    "some failed": (TRY_DANE, DANE, DANE, DANE, DANE),
    "unusable": (SECURE, DANE, DANE, DANE, DANE),
    "none": (SECURE, NOT_FOUND, NOT_FOUND, NOT_FOUND, NOT_FOUND),
    "insecure": (SECURE, NOT_FOUND, NOT_FOUND, NOT_FOUND, NOT_FOUND),
    "all hosts failed": (TRY_DANE, TRY_DANE, TRY_DANE, TRY_DANE, TRY_DANE),
    "MX failed": (SECURE, NOT_FOUND, NOT_FOUND, NOT_FOUND, NOT_FOUND),
    "own fault": (SECURE, NOT_FOUND, NOT_FOUND, NOT_FOUND, NOT_FOUND),
    "MX not answered": (SECURE, NOT_FOUND, NOT_FOUND, NOT_FOUND, NOT_FOUND),
    "hosts not answered": (TRY_DANE, TRY_DANE, TRY_DANE, TRY_DANE, TRY_DANE),
    "usable, others not answered": (DANE_ONLY, DANE, DANE, DANE, DANE),
    "absent, others not answered": (TRY_DANE, DANE, DANE, DANE, DANE),
}
COLUMNS = ("enforce", "testing", "no TXT record", "DNS failed", "TXT not answered")


@pytest.mark.parametrize("verdict", TABLE)
def test_the_table_of_the_design(verdict: str) -> None:
    """What is answered when the time is up, with the default settings (A1 to A5)."""
    got = tuple(
        decide(POLICIES[policy], VERDICTS[verdict], Rules(), time_is_up=True) for policy in COLUMNS
    )
    assert got == TABLE[verdict]


def test_the_table_covers_every_verdict() -> None:
    """No kind of verdict is missing above."""
    assert list(TABLE) == list(VERDICTS)
    assert {v.finding for v in VERDICTS.values()} == set(DaneFinding)
    assert {p.step for p in ALL_POLICIES} == set(PolicyStep)


# Without DANE, with `dns.on_failure: defer`: what waits, and what is decided (A7).
DEFERRED = {
    "enforce": SECURE,
    "testing": NOT_FOUND,
    "none": NOT_FOUND,
    "no TXT record": NOT_FOUND,
    "fetch failed": NOT_FOUND,
    "DNS failed": TRY_POLICY,
    "own fault": TRY_POLICY,
    "store not read": TRY_POLICY,
    "TXT not answered": TRY_POLICY,
    "addresses not answered": TRY_POLICY,
    "GET not answered": NOT_FOUND,
}


@pytest.mark.parametrize("policy", DEFERRED)
def test_an_administrator_who_defers(policy: str) -> None:
    """Mail waits if it is not known whether there is a policy, but not for a Policy Host."""
    rules = Rules(dns_defers=True)
    assert decide(POLICIES[policy], NOT_APPLICABLE, rules, time_is_up=True) is DEFERRED[policy]
    mx_failed = VERDICTS["MX failed"]
    assert decide(POLICIES[policy], mx_failed, rules, time_is_up=True) is DEFERRED[policy]


def cases() -> Iterator[tuple[KnownPolicy, KnownVerdict, Rules]]:
    """Every combination of inputs."""
    yield from product(ALL_POLICIES, ALL_VERDICTS, RULES)


def test_the_time_ends_all_waiting() -> None:
    """There is an answer for every combination of inputs."""
    for policy, verdict, rules in cases():
        assert decide(policy, verdict, rules, time_is_up=True) is not WAIT


def test_an_answer_before_the_time_is_that_at_its_end() -> None:
    """A look-up that need not wait gets what it would get later."""
    for policy, verdict, rules in cases():
        early = decide(policy, verdict, rules, time_is_up=False)
        assert early in {WAIT, decide(policy, verdict, rules, time_is_up=True)}


def test_nothing_waits_when_all_is_known() -> None:
    """Without a pending question there is an answer at once."""
    for policy, verdict, rules in cases():
        if not verdict.is_pending and policy.step not in PENDING:
            assert decide(policy, verdict, rules, time_is_up=False) is not WAIT


def test_a_policy_never_overrides_dane() -> None:
    """Not with usable TLSA records, nor if they could not be looked up (RFC 8461 §2)."""
    for policy, verdict, rules in cases():
        got = decide(policy, verdict, rules, time_is_up=True)
        if verdict.finding in {DaneFinding.ALL, DaneFinding.SOME}:
            assert got is not SECURE
        if verdict.finding in {DaneFinding.HOSTS_FAILED, DaneFinding.SOME_FAILED}:
            assert got is not SECURE or not rules.dane_defers


def test_an_enforced_policy_is_never_dropped() -> None:
    """The answer asks for authentication, unless the administrator leaves DANE to Postfix."""
    for policy, verdict, rules in cases():
        if not is_enforced(policy, rules):
            continue
        got = decide(policy, verdict, rules, time_is_up=True)
        authenticated = {SECURE, DANE_ONLY, TRY_DANE}
        if verdict.finding in {DaneFinding.ALL, DaneFinding.SOME}:
            authenticated |= {DANE, NOT_FOUND} if rules.dane_answer != "dane-only" else set()
            authenticated -= {NOT_FOUND} if rules.dane_answer == "dane" else set()
        assert got in authenticated


def test_a_verdict_is_never_dropped() -> None:
    """A domain of which DANE says that it has TLSA records is not answered as one without."""
    with_dane = {DaneFinding.ALL, DaneFinding.SOME, DaneFinding.UNUSABLE}
    for policy, verdict, rules in cases():
        if verdict.finding in with_dane and rules.dane_answer != "yield":
            assert decide(policy, verdict, rules, time_is_up=True) in {DANE_ONLY, DANE, SECURE}
        if verdict.finding is DaneFinding.ALL:
            by_rule = {"dane-only": DANE_ONLY, "dane": DANE, "yield": NOT_FOUND}
            for time_is_up in (True, verdict.is_pending):
                got = decide(policy, verdict, rules, time_is_up=time_is_up)
                assert got is by_rule[rules.dane_answer]


def test_mail_waits_only_if_the_administrator_asks() -> None:
    """Each of the two ways to defer is a setting; the store and own faults need that of the DNS."""
    for policy, verdict, rules in cases():
        got = decide(policy, verdict, rules, time_is_up=True)
        assert got is not TRY_DANE or rules.dane_defers
        assert got is not TRY_POLICY or rules.dns_defers


def test_an_own_fault_is_not_a_failure_of_the_domain() -> None:
    """`dane.on_failure` is for what the DNS did, not for what this program did."""
    for policy, rules in product(ALL_POLICIES, RULES):
        lost = decide(policy, VERDICTS["own fault"], rules, time_is_up=True)
        assert lost is decide(policy, NOT_APPLICABLE, rules, time_is_up=True)


# Every order of events. A policy event replaces what is known of the policy, a verdict event what
# is known of the verdict.

POLICY_PATHS = [
    [PolicyStep.UNREAD, PolicyStep.TXT_PENDING, *path]
    for path in (
        [Mode.ENFORCE],  # the store has it
        [PolicyStep.ADDRESSES_PENDING, PolicyStep.GET_PENDING, Mode.ENFORCE],
        [PolicyStep.ADDRESSES_PENDING, PolicyStep.GET_PENDING, Mode.TESTING],
        [PolicyStep.ADDRESSES_PENDING, PolicyStep.GET_PENDING, Mode.NONE],
        [PolicyStep.ADDRESSES_PENDING, PolicyStep.GET_PENDING, PolicyStep.FETCH_FAILED],
        [PolicyStep.ADDRESSES_PENDING, PolicyStep.DNS_FAILED],
        [PolicyStep.ADDRESSES_PENDING, PolicyStep.OWN_FAULT],
        [PolicyStep.ANSWERED],
        [PolicyStep.DNS_FAILED],
        [PolicyStep.OWN_FAULT],
    )
]
VERDICT_PATHS = [
    ["MX not answered", *path]
    for path in (
        ["hosts not answered", "usable, others not answered", "all"],
        ["hosts not answered", "usable, others not answered", "some"],
        ["hosts not answered", "usable, others not answered", "own fault"],
        ["hosts not answered", "absent, others not answered", "some failed"],
        ["hosts not answered", "absent, others not answered", "usable, others not answered"],
        ["hosts not answered", "absent, others not answered", "unusable"],
        ["hosts not answered", "absent, others not answered", "none"],
        ["hosts not answered", "all hosts failed"],
        ["insecure"],
        ["MX failed"],
        ["own fault"],
    )
]


def merges(first: int, second: int) -> Iterator[tuple[int, int]]:
    """Every pair of positions that some interleaving of two paths of these lengths passes."""
    yield from product(range(first), range(second))


def policy_at(path: list[PolicyStep | Mode], position: int, older: Mode | None) -> KnownPolicy:
    """What is known of the policy after this event, if an older one is in force."""
    match path[position]:
        case Mode() as mode:
            return KnownPolicy(mode, PolicyStep.ANSWERED)
        case step:
            return KnownPolicy(older, step)


@pytest.mark.usefixtures("uncovered")
def test_every_order_of_events() -> None:
    """At each point of each interleaving the answer is not weaker than the best that is known.

    What is known at a point does not depend on the order of the events before it, so the pairs of
    positions are all points of all interleavings.
    """
    points = 0
    for policies, verdicts, older, rules in product(POLICY_PATHS, VERDICT_PATHS, OLDER, RULES):
        for at, beside in merges(len(policies), len(verdicts)):
            policy = policy_at(policies, at, older)
            verdict = VERDICTS[verdicts[beside]]
            check_point(policy, verdict, rules)
            points += 1
    assert points > 100_000


def check_point(policy: KnownPolicy, verdict: KnownVerdict, rules: Rules) -> None:
    """The answer at the end of the time is as strong as policy and verdict each ask for."""
    got = decide(policy, verdict, rules, time_is_up=True)
    if got in {TRY_DANE, TRY_POLICY}:
        return
    match verdict.finding, rules.dane_answer:
        case ((DaneFinding.ALL | DaneFinding.SOME), ("dane" | "yield")):
            return  # the administrator leaves the choice to DANE in Postfix
        case DaneFinding.ALL, _:
            best = SENT[DANE_ONLY]
        case ((DaneFinding.SOME | DaneFinding.UNUSABLE), ("dane-only" | "dane")):
            best = SENT[DANE]
        case _:
            best = 0
    if is_enforced(policy, rules):
        best = SENT[SECURE]
    assert SENT[got] >= best


def test_later_events_do_not_change_an_early_answer() -> None:
    """What was answered before the time was up stays right, while the same policy is in force."""
    for policies, verdicts, rules in product(POLICY_PATHS, VERDICT_PATHS, RULES):
        for at, beside in merges(len(policies), len(verdicts)):
            verdict = VERDICTS[verdicts[beside]]
            early = decide(policy_at(policies, at, None), verdict, rules, time_is_up=False)
            if early is WAIT:
                continue
            for later in range(at, len(policies)):
                policy = policy_at(policies, later, None)
                assert decide(policy, verdict, rules, time_is_up=True) is early
