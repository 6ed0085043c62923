"""Pauses after failed GETs of a policy, one for each policy id (RFC 8461 §3.3).

Pure functions. Times are seconds since the epoch, passed in by the caller.
"""

from typing import Final

from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.values import Value

FIRST_BACKOFF: Final = 300.0
MAX_BACKOFF: Final = 3600.0
"""Pause after a failed GET of an id; it doubles with each failure, up to the second (§3.3)."""
MAX_BACKOFF_IDS: Final = 4
"""Failing ids remembered per domain; more than one, because name servers may disagree."""


class Backoff(Value, frozen=True):
    """An id whose GET failed, how often, and when it may be fetched again."""

    policy_id: PolicyId
    count: int
    until: float

    def blocks(self, now: float) -> bool:
        """Whether it still prevents a fetch.

        One that would last longer than MAX_BACKOFF dates from a clock that was ahead, and is void:
        such a clock finds every certificate expired.
        """
        return now < self.until <= now + MAX_BACKOFF


def after_failure(
    backoffs: tuple[Backoff, ...], policy_id: PolicyId, now: float
) -> tuple[Backoff, ...]:
    """Return the back-offs after one more failed GET of an id; that of this id is the last."""
    count = 1 + sum(backoff.count for backoff in backoffs if backoff.policy_id == policy_id)
    wait = min(FIRST_BACKOFF * 2 ** min(count - 1, 10), MAX_BACKOFF)
    others = [backoff for backoff in backoffs if backoff.policy_id != policy_id]
    return (*others, Backoff(policy_id, count, now + wait))[-MAX_BACKOFF_IDS:]
