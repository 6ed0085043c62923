"""The life of a policy: state + what happened + now → the next state or step.

Border: pure. The resolver carries out what is decided here and decides nothing itself; times
are wall-clock seconds since the epoch, handed in. The timers of the system are constants of this
file, but for those that only fit a part to its library.

One attempt goes: `standing` says whether one is due; the DNS is asked; `after_discovery` says
what follows, a `Fetch` or the attempt's end; the policy is fetched; `after_fetch` ends it.
"""

import enum
from typing import Final

from postfix_mta_sts.mtasts.dane import Verdict, is_due, is_live
from postfix_mta_sts.mtasts.errors import DiscoveryError, DnsFailureError, FetchError, MtaStsError
from postfix_mta_sts.mtasts.policy import Policy
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.values import Value, replace

MINUTE: Final = 60.0
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

RECHECK_LEAST: Final = MINUTE
RECHECK_MOST: Final = HOUR
"""The TXT record is asked for again after its TTL, held between these two."""
ABSENCE_RECHECK: Final = 5 * MINUTE
"""An absent record is asked for again, behind the reply, from then on."""
ABSENCE_BELIEVED: Final = HOUR
"""An absence older than this is forgotten: the next look-up waits for the network."""
DNS_FAILURE_BELIEVED: Final = 30.0
"""How long a DNS that did not answer is not asked again."""
REFETCH_MOST: Final = DAY
REFETCH_LEAST: Final = 5 * MINUTE
"""A policy is fetched anew at half its max_age, held between these two (§3.3, §10.2)."""
REFETCH_JITTER: Final = 0.1
"""The share of that time by which a fetch may come early, so that they spread."""
BACKOFF_FIRST: Final = 5 * MINUTE
BACKOFF_MOST: Final = HOUR
"""After a failed GET no other for that id; doubled with each failure, up to the second (§3.3)."""
BACKOFFS_KEPT: Final = 4
"""Failing ids remembered of one domain, for those whose name servers disagree."""


class Standing(enum.Enum):
    """What a state is good for at this moment."""

    FRESH = "serve it"
    DUE = "serve it, and check behind the reply"
    UNKNOWN = "nothing to serve: ask the network first"


class Discovered(Value, frozen=True):
    """What discovery found: the policy id, and for how many seconds the DNS stands by it."""

    policy_id: PolicyId
    ttl: int


class Failure(Value, frozen=True):
    """Why the last attempt of which there is something to tell failed."""

    code: str
    """The stable name of the `MtaStsError`."""
    result: str
    """RFC 8460 §4.3 result type."""
    reason: str
    count: int
    """Attempts in a row that failed with this code, this one included."""
    since: float
    """When the first failed, of those in a row with whatever code."""


class Backoff(Value, frozen=True):
    """An id whose GET failed, and when it may be tried again."""

    policy_id: PolicyId
    count: int
    until: float


class State(Value, frozen=True):
    """All that is known of one Policy Domain; absence has the same shape as presence."""

    policy: Policy | None
    """None: treat the domain as though it had no policy."""
    policy_id: PolicyId | None
    """The id under which `policy` was fetched."""
    fetched_at: float
    """When `policy` was fetched; of an absence, when it was found."""
    expires_at: float
    """`fetched_at` + max_age; of an absence, when it is forgotten."""
    checked_at: float
    """When the last attempt ended."""
    recheck_at: float
    """When the TXT record is to be asked for again, by whoever asks."""
    refetch_at: float
    """When the policy is to be fetched again, whatever its id."""
    failure: Failure | None = None
    backoffs: tuple[Backoff, ...] = ()
    dane: Verdict | None = None
    """What DANE says of the domain; it has its own life. None: nobody asked."""

    @property
    def undecided(self) -> bool:
        """Whether it is for want of an answer from the DNS that no policy is known."""
        return (
            self.policy is None
            and self.failure is not None
            and self.failure.code == DnsFailureError.code
        )


class Fetch(Value, frozen=True):
    """The step that follows discovery: GET the policy, under this id."""

    policy_id: PolicyId
    recheck_in: float
    """Seconds until the TXT record is to be asked for again."""


def standing(state: State | None, now: float, *, dane: bool = False) -> Standing:
    """What a state is good for (RFC 8461 §5.1 step 1).

    A state from the future (the clock was set back) is served if it is a policy, and checked;
    an absence from the future is not believed. With `dane` nothing is served without a verdict
    that lives, for a policy must not override DANE (§2).
    """
    worth = _standing(state, now)
    if not dane or state is None or worth is Standing.UNKNOWN:
        return worth
    if not is_live(state.dane, now):
        return Standing.UNKNOWN
    return Standing.DUE if is_due(state.dane, now) else worth


def _standing(state: State | None, now: float) -> Standing:
    if state is None or now >= state.expires_at:
        return Standing.UNKNOWN
    if now < state.checked_at:
        return Standing.UNKNOWN if state.policy is None else Standing.DUE
    return Standing.DUE if now >= state.recheck_at else Standing.FRESH


def live(state: State | None, now: float) -> State | None:
    """The state, if it holds an unexpired policy."""
    return state if state and state.policy and now < state.expires_at else None


def fresh_until(state: State) -> float:
    """Until when a reply made of this state may be repeated without another thought."""
    until = min(state.recheck_at, state.expires_at)
    return min(until, state.dane.recheck_at) if state.dane else until


def after_discovery(
    state: State | None, outcome: Discovered | DiscoveryError, now: float, *, forced: bool = False
) -> Fetch | State:
    """What follows what the DNS said: a `Fetch`, or the state in which the attempt ends.

    `forced`: fetch whatever can be fetched, for an administrator wants to see it.
    """
    kept = live(state, now)
    if isinstance(outcome, Discovered):
        recheck_in = min(max(outcome.ttl, RECHECK_LEAST), RECHECK_MOST)
        step = Fetch(outcome.policy_id, recheck_in)
        wanted = forced or _wanted(state, kept, step.policy_id, now)
        return step if wanted else _confirmed(state, step, now)
    if kept and kept.policy_id and (forced or _wanted(state, kept, kept.policy_id, now)):
        # §10.2: renew "regardless of the state of the _mta-sts TXT record".
        return Fetch(kept.policy_id, ABSENCE_RECHECK)
    unanswered = isinstance(outcome, DnsFailureError)
    retry = DNS_FAILURE_BELIEVED if unanswered else ABSENCE_RECHECK
    if state and _is_no_news(state, now, unanswered=unanswered):
        return replace(state, checked_at=now, recheck_at=now + retry)
    return _failed(state, outcome, now, retry)


def after_fetch(
    state: State | None, step: Fetch, outcome: Policy | FetchError, now: float, jitter: float
) -> State:
    """The state after a GET; `jitter` is a random number in [0, 1).

    A policy replaces the older one completely, whatever its mode and max_age (§5, §8.3).
    """
    if isinstance(outcome, Policy):
        return State(
            policy=outcome,
            policy_id=step.policy_id,
            fetched_at=now,
            expires_at=now + outcome.max_age,
            checked_at=now,
            recheck_at=now + step.recheck_in,
            refetch_at=now + _refetch_in(outcome, jitter),
        )
    backoff = _next_backoff(state, step.policy_id, now)
    others = [b for b in state.backoffs if b.policy_id != step.policy_id] if state else []
    failed = _failed(state, outcome, now, min(step.recheck_in, backoff.until - now))
    return replace(
        failed,
        refetch_at=max(failed.refetch_at, backoff.until),
        backoffs=(*others, backoff)[-BACKOFFS_KEPT:],
    )


def after_fault(state: State | None, error: MtaStsError, now: float) -> State:
    """The state after an attempt that this program broke off by a fault of its own."""
    return _failed(state, error, now, ABSENCE_RECHECK)


def restored(
    policy: Policy,
    policy_id: PolicyId,
    fetched_at: float,
    refetch_at: float,
    dane: Verdict | None = None,
) -> State:
    """The state that a stored policy stands for: its age is as it was, its recheck is due."""
    return State(
        policy=policy,
        policy_id=policy_id,
        fetched_at=fetched_at,
        expires_at=fetched_at + policy.max_age,
        checked_at=fetched_at,
        recheck_at=fetched_at,
        refetch_at=refetch_at,
        dane=dane,
    )


def _wanted(state: State | None, kept: State | None, policy_id: PolicyId, now: float) -> bool:
    """Whether a policy is to be fetched under this id now."""
    if any(b.policy_id == policy_id and _holds(b, now) for b in _backoffs(state)):
        return False
    if kept is None or kept.policy_id != policy_id or now >= kept.refetch_at:
        return True
    return now < kept.fetched_at or now < kept.refetch_at - REFETCH_MOST  # the clock was set back


def _holds(backoff: Backoff, now: float) -> bool:
    """Whether an id still has to wait; an end that is too far off is from before a clock set back.

    Were it believed, a machine that began with a clock in the future, and so found every
    certificate expired, would fetch none of these policies until that future.
    """
    return now < backoff.until <= now + BACKOFF_MOST


def _is_no_news(state: State, now: float, *, unanswered: bool) -> bool:
    """Whether a state stays as it is, but for its recheck, after discovery found nothing.

    A silent DNS takes nothing back that it said before; and what the record lacks is no news of
    a policy whose renewal is failing anyhow.
    """
    if standing(state, now) is Standing.UNKNOWN:
        return False
    if unanswered:
        return not state.undecided
    return state.policy is not None and any(_holds(b, now) for b in state.backoffs)


def _backoffs(state: State | None) -> tuple[Backoff, ...]:
    return state.backoffs if state else ()


def _confirmed(state: State | None, step: Fetch, now: float) -> State:
    """The state after the DNS named an id that is not to be fetched now."""
    pending = next((b for b in _backoffs(state) if b.policy_id == step.policy_id), None)
    recheck_at = now + step.recheck_in
    if pending and _holds(pending, now):
        recheck_at = min(recheck_at, pending.until)
    kept = live(state, now)
    if kept:
        failure = kept.failure if pending else None
        return replace(kept, checked_at=now, recheck_at=recheck_at, failure=failure)
    absence = _absence(state, now, ABSENCE_BELIEVED)
    return replace(absence, recheck_at=recheck_at, failure=state.failure if state else None)


def _failed(state: State | None, error: MtaStsError, now: float, retry_in: float) -> State:
    """The state after an attempt without success: a live policy stays, whatever failed."""
    kept = live(state, now)
    if kept:
        failure = _failure(kept.failure, error, now)
        return replace(kept, checked_at=now, recheck_at=now + retry_in, failure=failure)
    unanswered = isinstance(error, DnsFailureError)
    absence = _absence(state, now, DNS_FAILURE_BELIEVED if unanswered else ABSENCE_BELIEVED)
    failure = _failure(state.failure if state else None, error, now)
    return replace(absence, recheck_at=now + retry_in, failure=failure)


def _absence(state: State | None, now: float, believed: float) -> State:
    return State(
        policy=None,
        policy_id=None,
        fetched_at=now,
        expires_at=now + believed,
        checked_at=now,
        recheck_at=now + believed,
        refetch_at=now,
        backoffs=_backoffs(state),
    )


def _failure(before: Failure | None, error: MtaStsError, now: float) -> Failure:
    result = getattr(error, "result", "")
    count = before.count + 1 if before and before.code == error.code else 1
    return Failure(error.code, result, str(error), count, before.since if before else now)


def _next_backoff(state: State | None, policy_id: PolicyId, now: float) -> Backoff:
    count = 1 + sum(b.count for b in _backoffs(state) if b.policy_id == policy_id)
    wait = min(BACKOFF_FIRST * 2 ** min(count - 1, 10), BACKOFF_MOST)
    return Backoff(policy_id, count, now + wait)


def _refetch_in(policy: Policy, jitter: float) -> float:
    half = min(max(policy.max_age / 2, REFETCH_LEAST), REFETCH_MOST)
    return half * (1 - REFETCH_JITTER * jitter)
