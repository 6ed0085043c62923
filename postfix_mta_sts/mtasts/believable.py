"""What is left of a state when the clock turns out to have been ahead.

Pure functions. Every absolute time that is kept has a longest possible distance from now; a later
one was noted by a clock that was ahead, and would be believed until that clock's time comes. No
function makes a time later, and none ends a policy that is in force.
"""

from postfix_mta_sts.mtasts import verdict
from postfix_mta_sts.mtasts.backoff import MAX_BACKOFF, Backoff
from postfix_mta_sts.mtasts.lifecycle import ABSENCE_LIFE, MAX_RECHECK, MAX_REFETCH, State
from postfix_mta_sts.values import replace


def believable(state: State, now: float) -> State:
    """Return the state without a time that cannot be true at `now`; itself if there is none.

    A policy from the future ends max_age after `now`, and is due to be checked and fetched; an
    absence from the future is forgotten.
    """
    ahead = now < state.fetched_at or now < state.checked_at
    after = replace(
        state,
        fetched_at=min(state.fetched_at, now),
        expires_at=min(state.expires_at, _latest_end(state, now, ahead=ahead)),
        checked_at=min(state.checked_at, now),
        recheck_at=min(state.recheck_at, now if ahead else now + MAX_RECHECK),
        refetch_at=min(state.refetch_at, now if now < state.fetched_at else now + MAX_REFETCH),
        failure=state.failure and replace(state.failure, since=min(state.failure.since, now)),
        backoffs=tuple(_backoff(each, now) for each in state.backoffs),
        dane=state.dane and verdict.believable(state.dane, now),
    )
    return state if after == state else after


def _latest_end(state: State, now: float, *, ahead: bool) -> float:
    if state.policy:
        return min(state.fetched_at, now) + state.policy.max_age
    return now if ahead else now + ABSENCE_LIFE


def _backoff(backoff: Backoff, now: float) -> Backoff:
    """Return the back-off; one that would last longer than the longest is over."""
    return replace(backoff, until=now) if backoff.until > now + MAX_BACKOFF else backoff
