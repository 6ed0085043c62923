"""The life of a policy: from state, outcome and time to the next state or step.

Pure functions. `resolver.attempt` carries out what they decide and decides nothing itself. Times
are seconds since the epoch, passed in by the caller.

A `State` is all that is known of one Policy Domain: a policy or its absence, and when to do what
about it. A look-up asks `standing` what the state is good for. FRESH: reply from it; DUE: reply
from it and start an attempt in the background; UNKNOWN: start an attempt and reply when it ends.

An attempt (rechecks and renewals are attempts, too) takes these steps:

1. Query the TXT record: a policy id and a TTL (`Discovered`), or a `DiscoveryError`.
2. `after_discovery` returns the next state, which ends the attempt; or a `Fetch` if the id is new,
   the policy is due to be fetched again, or there is none, and no back-off forbids it.
3. GET the policy from the Policy Host: a `Policy`, or a `FetchError`.
4. `after_fetch` returns the next state.

The times in a state:

- `recheck_at`: a look-up after it starts an attempt. It is the TTL of the record, within
  MIN_RECHECK and MAX_RECHECK; ABSENCE_RECHECK after a failed discovery; DNS_FAILURE_LIFE if
  the DNS did not answer.
- `refetch_at`: an attempt after it fetches the policy even if the id has not changed; the refresher
  starts one for each domain in use. Half the max_age, within limits, less up to REFETCH_JITTER.
- `expires_at`: the end of the state. A policy ends max_age after its fetch; only a fetch moves
  that, a TXT record never does (§5.1). An absence ends after ABSENCE_LIFE, or after
  DNS_FAILURE_LIFE if its reason is a DNS that did not answer.
- `backoffs`: until when an id whose GET failed is not fetched.

No failure takes a policy away before it expires (§3.3). Without an unexpired policy, a failed
attempt leaves an absence: the domain is treated as though it had no policy.
"""

import enum
from typing import Final

from postfix_mta_sts.mtasts.backoff import Backoff, after_failure
from postfix_mta_sts.mtasts.errors import DiscoveryError, DnsFailureError, FetchError, MtaStsError
from postfix_mta_sts.mtasts.policy import Policy
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.mtasts.verdict import Verdict, is_due, is_live
from postfix_mta_sts.values import Value, replace

MINUTE: Final = 60.0
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
WEEK: Final = 7 * DAY

MIN_RECHECK: Final = MINUTE
MAX_RECHECK: Final = HOUR
"""The TXT record is queried again after its TTL, but within these two."""
ABSENCE_RECHECK: Final = 5 * MINUTE
"""From then on, a look-up of an absent record starts a query in the background."""
ABSENCE_LIFE: Final = HOUR
"""After that an absence is forgotten and the next look-up waits for the network; also if a record
names a policy that cannot be fetched, but not if the DNS did not answer."""
DNS_FAILURE_LIFE: Final = 30.0
"""After a query without an answer the DNS is not asked again for this time."""
MAX_REFETCH: Final = DAY
MIN_REFETCH: Final = 5 * MINUTE
"""A policy is fetched again after half its max_age, but within these two (§3.3, §10.2)."""
REFETCH_JITTER: Final = 0.1
"""Maximum share of that time by which a fetch is early, so that fetches spread out."""


class Standing(enum.Enum):
    """What a state is good for at a given time."""

    FRESH = "reply from it"
    DUE = "reply from it and start an attempt in the background"
    UNKNOWN = "start an attempt and wait for it"


class Discovered(Value, frozen=True):
    """The outcome of a successful TXT query: the policy id, and the TTL in seconds."""

    policy_id: PolicyId
    ttl: int


class Failure(Value, frozen=True):
    """Why the last attempt failed; an attempt without news (`_is_no_news`) does not replace it."""

    code: str
    """The stable name of the `MtaStsError`."""
    result: str
    """RFC 8460 §4.3 result type."""
    reason: str
    count: int
    """Failed attempts in a row with this code, including this one."""
    since: float
    """When the first of the failed attempts in a row failed, with any code."""


class State(Value, frozen=True):
    """All that is known of one Policy Domain: a policy, or that there is none."""

    policy: Policy | None
    """None: treat the domain as though it had no policy."""
    policy_id: PolicyId | None
    """The id under which `policy` was fetched."""
    fetched_at: float
    """When `policy` was fetched; for an absence, when it was found."""
    expires_at: float
    """`fetched_at` + max_age; for an absence, when it is forgotten."""
    checked_at: float
    """When the last attempt ended."""
    recheck_at: float
    """When the next look-up queries the TXT record again."""
    refetch_at: float
    """When the policy is fetched again, even if the id has not changed."""
    failure: Failure | None = None
    backoffs: tuple[Backoff, ...] = ()
    dane: Verdict | None = None
    """The DANE verdict, which has timers of its own; None: not looked up."""
    record_was_gone: bool = False
    """Whether the DNS has said that there is no valid TXT record, since the policy was last fetched
    with one. `failure` does not tell: the policy is fetched all the same, and that may succeed."""

    @property
    def undecided(self) -> bool:
        """Whether no policy is known because the DNS did not answer."""
        return (
            self.policy is None
            and self.failure is not None
            and self.failure.code == DnsFailureError.code
        )


class Fetch(Value, frozen=True):
    """The step after discovery: GET the policy, which then has this id."""

    policy_id: PolicyId
    recheck_in: float
    """Seconds until the TXT record is queried again."""
    record_was_gone: bool = False
    """See `State`."""


def standing(state: State | None, now: float, *, dane: bool = False) -> Standing:
    """Return what a state is good for (RFC 8461 §5.1 step 1).

    If a state is from the future (the clock was set back), a policy is DUE and an absence is
    UNKNOWN. With `dane`, a state without a live verdict is UNKNOWN: a policy must not override
    DANE (§2).
    """
    without_dane = _standing(state, now)
    if not dane or state is None or without_dane is Standing.UNKNOWN:
        return without_dane
    if not is_live(state.dane, now):
        return Standing.UNKNOWN
    return Standing.DUE if is_due(state.dane, now) else without_dane


def _standing(state: State | None, now: float) -> Standing:
    if state is None or now >= state.expires_at:
        return Standing.UNKNOWN
    if is_from_future(state, now):
        return Standing.UNKNOWN if state.policy is None else Standing.DUE
    return Standing.DUE if now >= state.recheck_at else Standing.FRESH


def live(state: State | None, now: float) -> State | None:
    """Return the state if it holds an unexpired policy, else None."""
    return state if state and state.policy and now < state.expires_at else None


def is_from_future(state: State | None, now: float) -> bool:
    """Whether the clock was set back since the state was checked."""
    return state is not None and now < state.checked_at


def fresh_until(state: State) -> float:
    """Return the time until which a reply made from this state may be repeated unchecked."""
    until = min(state.recheck_at, state.expires_at)
    return min(until, state.dane.recheck_at) if state.dane else until


def after_discovery(
    state: State | None, outcome: Discovered | DiscoveryError, now: float, *, forced: bool = False
) -> Fetch | State:
    """Return the step after the TXT query: a `Fetch`, or the state in which the attempt ends.

    `forced`: fetch in any case in which there is an id, because an administrator asked for it.
    """
    if isinstance(outcome, Discovered):
        recheck_in = min(max(outcome.ttl, MIN_RECHECK), MAX_RECHECK)
        step = Fetch(outcome.policy_id, recheck_in)
        must_fetch = forced or _must_fetch(state, step.policy_id, now)
        return step if must_fetch else _confirmed(state, step, now)
    unanswered = isinstance(outcome, DnsFailureError)
    cached = live(state, now)
    if cached and not unanswered:
        state = cached = replace(cached, record_was_gone=True)
    known_id = cached.policy_id if cached else None
    if cached and known_id and (forced or _must_fetch(state, known_id, now)):
        # §10.2: renew "regardless of the state of the _mta-sts TXT record".
        return Fetch(known_id, ABSENCE_RECHECK, cached.record_was_gone)
    retry = DNS_FAILURE_LIFE if unanswered else ABSENCE_RECHECK
    if state and _is_no_news(state, now, unanswered=unanswered):
        return replace(state, checked_at=now, recheck_at=now + retry)
    return _failed(state, outcome, now, retry)


def after_fetch(
    state: State | None,
    step: Fetch,
    outcome: Policy | FetchError | DnsFailureError,
    now: float,
    jitter: float,
) -> State:
    """Return the state after a GET; `jitter` is a random number in [0, 1).

    A policy replaces the older one completely, whatever its mode and max_age (§5, §8.3). If the DNS
    did not answer for the addresses of the Policy Host, the id gets no back-off: it was not tried.
    """
    if isinstance(outcome, Policy):
        return State(
            policy=outcome,
            policy_id=step.policy_id,
            fetched_at=now,
            expires_at=now + outcome.max_age,
            checked_at=now,
            recheck_at=now + step.recheck_in,
            refetch_at=now + refetch_in(outcome, jitter),
            record_was_gone=step.record_was_gone,
        )
    if cached := live(state, now):
        was_gone = cached.record_was_gone or step.record_was_gone
        state = replace(cached, record_was_gone=was_gone)
    if isinstance(outcome, DnsFailureError):
        return _failed(state, outcome, now, DNS_FAILURE_LIFE)
    backoffs = after_failure(_backoffs(state), step.policy_id, now)
    until = backoffs[-1].until
    failed = _failed(state, outcome, now, min(step.recheck_in, until - now))
    return replace(failed, refetch_at=max(failed.refetch_at, until), backoffs=backoffs)


def unknown(now: float) -> State:
    """Return a state that says nothing of the policy, so that the next look-up asks for it.

    It holds a verdict that is known before the policy.
    """
    return _absence(None, now, 0.0, recheck_at=now)


def unconfirmed(absence: State, now: float) -> State:
    """Return an absence that was found while the store could not be read.

    The store may hold a valid policy, which an absence never ends. So the next look-up after
    DNS_FAILURE_LIFE reads it again.
    """
    return replace(
        absence,
        expires_at=min(absence.expires_at, now + DNS_FAILURE_LIFE),
        recheck_at=min(absence.recheck_at, now + DNS_FAILURE_LIFE),
    )


def restored(  # noqa: PLR0913, PLR0917 (what a row keeps)
    policy: Policy,
    policy_id: PolicyId,
    fetched_at: float,
    refetch_at: float,
    dane: Verdict | None = None,
    failure: Failure | None = None,
    backoffs: tuple[Backoff, ...] = (),
    record_was_gone: bool = False,  # noqa: FBT001, FBT002 (the order of `State`)
) -> State:
    """Return the state of a stored policy: age, failure and back-offs go on; a recheck is due."""
    return State(
        policy=policy,
        policy_id=policy_id,
        fetched_at=fetched_at,
        expires_at=fetched_at + policy.max_age,
        checked_at=fetched_at,
        recheck_at=fetched_at,
        refetch_at=refetch_at,
        failure=failure,
        backoffs=backoffs,
        dane=dane,
        record_was_gone=record_was_gone,
    )


def _must_fetch(state: State | None, policy_id: PolicyId, now: float) -> bool:
    """Whether to fetch the policy with this id now."""
    if any(b.policy_id == policy_id and b.blocks(now) for b in _backoffs(state)):
        return False
    cached = live(state, now)
    if cached is None or cached.policy_id != policy_id or now >= cached.refetch_at:
        return True
    # Fetch it, too, if the clock was set back.
    return now < cached.fetched_at or now < cached.refetch_at - MAX_REFETCH


def _is_no_news(state: State, now: float, *, unanswered: bool) -> bool:
    """Whether a failed discovery changes nothing in a state except the time of its recheck.

    A DNS that does not answer takes back nothing that it said before. While a renewal is failing,
    a missing or invalid record is no news either: the failed GET remains the failure.
    """
    if standing(state, now) is Standing.UNKNOWN:
        return False
    if unanswered:
        return not state.undecided
    return state.policy is not None and any(b.blocks(now) for b in state.backoffs)


def _backoffs(state: State | None) -> tuple[Backoff, ...]:
    return state.backoffs if state else ()


def _confirmed(state: State | None, step: Fetch, now: float) -> State:
    """Return the state after the DNS named an id that must not or need not be fetched now."""
    pending = next((b for b in _backoffs(state) if b.policy_id == step.policy_id), None)
    recheck_at = now + step.recheck_in
    if pending and pending.blocks(now):
        recheck_at = min(recheck_at, pending.until)
    if cached := live(state, now):
        failure = cached.failure if pending else None
        return replace(cached, checked_at=now, recheck_at=recheck_at, failure=failure)
    failure = state.failure if state else None
    return _absence(state, now, ABSENCE_LIFE, recheck_at, failure)


def _failed(state: State | None, error: MtaStsError, now: float, retry_in: float) -> State:
    """Return the state after a failed attempt: a live policy stays in any case."""
    if cached := live(state, now):
        failure = _failure(cached.failure, error, now)
        return replace(cached, checked_at=now, recheck_at=now + retry_in, failure=failure)
    life = DNS_FAILURE_LIFE if isinstance(error, DnsFailureError) else ABSENCE_LIFE
    failure = _failure(state.failure if state else None, error, now)
    return _absence(state, now, life, now + retry_in, failure)


def _absence(
    state: State | None, now: float, life: float, recheck_at: float, failure: Failure | None = None
) -> State:
    return State(
        policy=None,
        policy_id=None,
        fetched_at=now,
        expires_at=now + life,
        checked_at=now,
        recheck_at=recheck_at,
        refetch_at=now,
        failure=failure,
        backoffs=_backoffs(state),
    )


def _failure(before: Failure | None, error: MtaStsError, now: float) -> Failure:
    result = getattr(error, "result", "")
    count = before.count + 1 if before and before.code == error.code else 1
    return Failure(error.code, result, str(error), count, before.since if before else now)


def refetch_in(policy: Policy, jitter: float) -> float:
    """Return the seconds from the fetch of a policy until it is due to be fetched again."""
    half = min(max(policy.max_age / 2, MIN_REFETCH), MAX_REFETCH)
    return half * (1 - REFETCH_JITTER * jitter)
