"""Decide what the daemon answers about a domain, from what is known of it at one moment.

Pure functions. `Knowledge` is what an attempt has found so far, or what memory holds; `decide`
turns it into a `Decision`: an answer, or WAIT. `postfix.protocol.reply` makes the text of it.
docs/answers.md shows the whole table.

Two questions are asked side by side, and neither waits for the other: what is the policy, and what
does DANE say of the MX hosts (the verdict). Until the lookup timeout ends, a look-up waits as long
as the missing answer could still change the reply. After that the reply is made of what is known:
it is never weaker than a policy or a verdict that is known, and a policy never overrides DANE
(RFC 8461 §2). What an administrator puts in place of a policy is in `Rules`; `overrides` finds it.
"""

import enum
from typing import Final, Literal, TypeAlias

from postfix_mta_sts.mtasts.dane import DaneKind, DaneOutcome, MxState
from postfix_mta_sts.mtasts.errors import DnsFailureError, InvalidRecordError, NoRecordError
from postfix_mta_sts.mtasts.lifecycle import State, live
from postfix_mta_sts.mtasts.policy import Mode, is_enforced
from postfix_mta_sts.mtasts.verdict import Verdict, is_live
from postfix_mta_sts.values import Value

DaneAnswer: TypeAlias = Literal["dane-only", "dane", "yield"]
"""The strictest level in a reply for a domain with DANE; yield: none, main.cf has level dane."""


class PolicyStep(enum.Enum):
    """How far the question of the policy has come."""

    UNREAD = "the store has not been read"
    TXT_PENDING = "the TXT record is not answered yet"
    ADDRESSES_PENDING = "the addresses of the Policy Host are not answered yet"
    GET_PENDING = "the Policy Host has not sent the policy yet"
    ANSWERED = "there is a policy, or no TXT record"
    FETCH_FAILED = "the Policy Host gave no valid policy"
    DNS_FAILED = "the DNS did not answer"
    OWN_FAULT = "a fault of this program ended the attempt"


PENDING: Final = (
    PolicyStep.UNREAD,
    PolicyStep.TXT_PENDING,
    PolicyStep.ADDRESSES_PENDING,
    PolicyStep.GET_PENDING,
)
"""Steps after which more will be known; a tuple, because to hash a member takes a Python call."""


_DECIDED: Final = (PolicyStep.ANSWERED, PolicyStep.FETCH_FAILED, PolicyStep.GET_PENDING)
"""Steps that tell whether there is a policy, as far as RFC 8461 asks for."""

_RECORD_ERRORS: Final = frozenset({NoRecordError.code, InvalidRecordError.code})


class KnownPolicy(Value, frozen=True):
    """What a decision needs to know of the policy."""

    mode: Mode | None
    """The mode of the policy in force, even if a newer one is being looked up; None: no policy."""
    step: PolicyStep


class DaneFinding(enum.Enum):
    """What a decision needs to know of the verdict."""

    NOT_APPLICABLE = "DANE is off, or the key names no MX hosts"
    UNKNOWN = "nothing is known of the MX records"
    HOSTS_FAILED = "the MX RRset is signed, and the look-up of every MX host failed"
    ALL = "every MX host has usable TLSA records"
    SOME = "some MX hosts have usable TLSA records"
    SOME_FAILED = "the look-up of some MX hosts failed; no other has usable TLSA records"
    UNUSABLE = "there are TLSA records, none usable"
    NONE = "no MX host has TLSA records"
    INSECURE = "the MX RRset is not signed"


_FINDINGS: Final = {
    DaneKind.ALL: DaneFinding.ALL,
    DaneKind.SOME: DaneFinding.SOME,
    DaneKind.SOME_FAILED: DaneFinding.SOME_FAILED,
    DaneKind.UNUSABLE: DaneFinding.UNUSABLE,
    DaneKind.NONE: DaneFinding.NONE,
    DaneKind.INSECURE: DaneFinding.INSECURE,
}


class KnownVerdict(Value, frozen=True):
    """The finding so far, and whether the DANE look-up is still under way.

    While it is, hosts that are not finished count as failed, and an unanswered MX query as UNKNOWN:
    that is what is known if the time ends now.
    """

    finding: DaneFinding
    is_pending: bool = False


class Decision(enum.Enum):
    """What the daemon answers."""

    WAIT = "nothing yet"
    SECURE = "the policy"
    PIN = "a pinned list of MX hosts"
    DANE_ONLY = "dane-only"
    DANE = "dane"
    ENCRYPT = "encrypt"
    MAY = "may"
    NOT_FOUND = "not found"
    TRY_AGAIN_DANE = "try again: DANE is not known"
    TRY_AGAIN_POLICY = "try again: the policy is not known"


class Rules(Value, frozen=True):
    """The settings that a decision depends on."""

    dane_answer: DaneAnswer = "dane-only"
    dane_defers: bool = True
    """`dane.on_failure: defer`."""
    dns_defers: bool = False
    """`dns.on_failure: defer`."""
    enforce_testing: bool = False
    """Mode testing is treated as enforce for this domain in this map."""
    in_place: Decision | None = None
    """What stands in place of the policy, known or not (`overrides`): `NOT_FOUND`, `MAY`, `ENCRYPT`
    or `PIN`; None: the policy decides."""


class Knowledge(Value, frozen=True):
    """What is known of a domain at one moment."""

    state: State | None
    """The policy or its absence, and the last verdict; None: nothing."""
    step: PolicyStep
    is_asking_dane: bool = False
    """Whether a DANE look-up is under way."""
    so_far: DaneOutcome | None = None
    """What that look-up has found so far; None: nothing."""
    verdict_was_live: bool = False
    """Whether the verdict has been live during the attempt under way. Until that has found another
    one, it counts when it has expired, too: a clock that is set forward takes nothing back."""

    @property
    def is_complete(self) -> bool:
        """Whether nothing more is being looked up."""
        return self.step not in PENDING and not self.is_asking_dane

    @property
    def says_nothing(self) -> bool:
        """Whether every look-up must wait for more."""
        return self.state is None and self.so_far is None and self.step in PENDING

    @property
    def lacks_policy(self) -> bool:
        """Whether the policy is not known for a reason that is not the domain's own."""
        is_known = self.state is not None and self.state.policy is not None
        return not is_known and (self.step in PENDING or self.step is PolicyStep.OWN_FAULT)


NOTHING: Final = Knowledge(None, PolicyStep.UNREAD)
"""Before the store was read."""
UNASKED: Final = Knowledge(None, PolicyStep.UNREAD, is_asking_dane=True)
"""Before anything was asked; what is decided by it depends on nothing that is looked up."""


def from_memory(state: State) -> Knowledge:
    """What a state says that is served without an attempt."""
    return Knowledge(state, last_step(state))


def last_step(state: State) -> PolicyStep:
    """How far the question of the policy came in the attempt that ended in this state."""
    failure = state.failure
    if state.policy is not None or failure is None or failure.code in _RECORD_ERRORS:
        return PolicyStep.ANSWERED
    is_undecided = failure.code == DnsFailureError.code
    return PolicyStep.DNS_FAILED if is_undecided else PolicyStep.FETCH_FAILED


def known_policy(knowledge: Knowledge, now: float) -> KnownPolicy:
    """What a decision at `now` may use of the policy.

    One that was fetched for this look-up counts even if its max_age is 0.
    """
    is_current = knowledge.step is PolicyStep.ANSWERED
    state = knowledge.state if is_current else live(knowledge.state, now)
    mode = state.policy.mode if state and state.policy else None
    return KnownPolicy(mode, knowledge.step)


def last_verdict(knowledge: Knowledge, now: float) -> Verdict | None:
    """The verdict that has not expired at `now`."""
    verdict = knowledge.state.dane if knowledge.state else None
    return verdict if is_live(verdict, now) else None


def outcome(knowledge: Knowledge, now: float) -> DaneOutcome | None:
    """The outcome that a decision at `now` may use: of a verdict, else of what is found so far."""
    verdict = last_verdict(knowledge, now)
    if verdict is None and knowledge.verdict_was_live and knowledge.state:
        verdict = knowledge.state.dane
    return verdict.outcome if verdict else knowledge.so_far


def known_verdict(knowledge: Knowledge, now: float) -> KnownVerdict:
    """What a decision at `now` may use of the verdict, for a key to which it applies.

    Without a verdict nothing is known, nor pending, if a fault of this program has ended the DANE
    look-up.
    """
    is_pending = knowledge.is_asking_dane and last_verdict(knowledge, now) is None
    found = outcome(knowledge, now)
    return KnownVerdict(finding(found) if found else DaneFinding.UNKNOWN, is_pending)


def finding(outcome: DaneOutcome) -> DaneFinding:
    """What an outcome means for a decision."""
    failed = DaneFinding.HOSTS_FAILED if outcome.mx is MxState.SECURE else DaneFinding.UNKNOWN
    return _FINDINGS.get(outcome.kind, failed)


NOT_APPLICABLE: Final = KnownVerdict(DaneFinding.NOT_APPLICABLE)


def decide(  # noqa: PLR0911 (a return for each row of the table)
    policy: KnownPolicy, verdict: KnownVerdict, rules: Rules, *, time_is_up: bool
) -> Decision:
    """The answer, or WAIT while `time_is_up` is false and more knowledge could change it.

    With `time_is_up` it is never WAIT.
    """
    if verdict.is_pending and not time_is_up:
        return Decision.WAIT
    by_policy = _by_policy(policy, rules, time_is_up=time_is_up)
    match verdict.finding:
        case DaneFinding.ALL:
            return _dane(rules.dane_answer)
        case DaneFinding.SOME if rules.dane_answer != "dane-only":
            return _dane(rules.dane_answer)
        case DaneFinding.SOME:
            # dane-only breaks neither RFC 8461 §5 nor §2: the hosts without TLSA records get no
            # mail, as they would not be authenticated by DANE. If no policy is enforced, they may.
            return _if_enforced(by_policy, Decision.DANE_ONLY, Decision.DANE)
        case DaneFinding.UNUSABLE:
            # DANE requires TLS but cannot authenticate it (RFC 7672 §2.2): a policy asks for more,
            # and there is no DANE authentication that it could override.
            return _if_enforced(by_policy, by_policy, _dane_level(rules))
        case DaneFinding.SOME_FAILED:
            return _after_failed_hosts(by_policy, rules)
        case DaneFinding.HOSTS_FAILED if rules.dane_defers:
            return Decision.TRY_AGAIN_DANE
    return by_policy


def _after_failed_hosts(by_policy: Decision, rules: Rules) -> Decision:
    """The answer if some hosts failed, and no other has usable TLSA records.

    An enforced policy might override DANE at a host that failed. Without one, Postfix passes over
    that host and delivers to the others (RFC 7672 §2.1.1), as level dane makes it do.
    """
    enforced = Decision.TRY_AGAIN_DANE if rules.dane_defers else by_policy
    if by_policy is Decision.TRY_AGAIN_POLICY:
        return by_policy
    return _if_enforced(by_policy, enforced, _dane_level(rules))


def _if_enforced(by_policy: Decision, enforced: Decision, otherwise: Decision) -> Decision:
    """Choose by whether a policy, or a pin, is enforced; WAIT while that is not known."""
    if by_policy is Decision.WAIT:
        return Decision.WAIT
    is_enforced = by_policy is Decision.SECURE or by_policy is Decision.PIN
    return enforced if is_enforced else otherwise


def _by_policy(policy: KnownPolicy, rules: Rules, *, time_is_up: bool) -> Decision:
    """The answer if DANE does not matter (RFC 8461 §5; postconf(5))."""
    if rules.in_place is not None:
        return rules.in_place
    if policy.mode is not None:
        return (
            Decision.SECURE
            if is_enforced(policy.mode, testing=rules.enforce_testing)
            else Decision.NOT_FOUND
        )
    if policy.step in PENDING and not time_is_up:
        return Decision.WAIT
    return Decision.TRY_AGAIN_POLICY if _defers(policy.step, rules) else Decision.NOT_FOUND


def _defers(step: PolicyStep, rules: Rules) -> bool:
    """Whether mail waits because it is not known whether the domain has a policy.

    It does not wait for a Policy Host: RFC 8461 §3.3 treats one that does not answer as though
    there were no policy.
    """
    return rules.dns_defers and step not in _DECIDED


def _dane_level(rules: Rules) -> Decision:
    """The level where dane-only would defer mail that DANE does not forbid to send."""
    return _dane("dane" if rules.dane_answer == "dane-only" else rules.dane_answer)


def _dane(answer: DaneAnswer) -> Decision:
    match answer:
        case "dane-only":
            return Decision.DANE_ONLY
        case "dane":
            return Decision.DANE
    return Decision.NOT_FOUND
