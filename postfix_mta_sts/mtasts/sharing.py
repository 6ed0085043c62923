"""What a policy that another relay has fetched is worth to this one: the rules, as pure functions.

A shared store can be old, be rolled back, or be written with a stolen key. So a shared
policy may add protection and never take it away: what would weaken the relay makes it fetch for
itself. Times are seconds since the epoch by the clock of this relay.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from postfix_mta_sts.mtasts.lifecycle import State, live, refetch_in, restored
from postfix_mta_sts.mtasts.policy import Mode, Policy
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.values import Value

SAME_FETCH: Final = 2.0
"""Seconds by which two clocks may differ on one fetch: a relay reads its own policy back."""

_RELAY_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class SharedPolicy(Value, frozen=True):
    """A policy of the shared store whose signature and text are valid, and that has not expired."""

    policy: Policy
    policy_id: PolicyId
    age: float
    """Seconds since its fetch, by the clock of the store; never negative."""
    given_by: str
    """The name of the relay that has given it to the store; see `is_relay_name`."""
    order: int
    """Identifies the fetch: its time by the clock of the store, in microseconds."""
    is_own_fetch: bool = True
    """False: that relay may have had it from another one, or has been started again since."""

    @property
    def fetched_by(self) -> str | None:
        """The name of the relay that fetched it; None: it is not known."""
        return self.given_by if self.is_own_fetch else None


def is_relay_name(text: str) -> bool:
    """Whether a relay can have this name: ASCII letters, digits, `.`, `_`, `-`, at most 64."""
    return _RELAY_NAME.fullmatch(text) is not None


def adopted(
    shared: SharedPolicy,
    known: State | None,
    named: PolicyId | None,
    now: float,
    jitter: float,
    on_file: State | None = None,
) -> State | str:
    """Return the state that a relay takes from the shared store, or why it fetches for itself.

    `known`: what the relay knows, expired or not; `on_file`: its own row, if it has read that.
    `named`: the id in its own TXT record; None if the record is absent or the DNS did not answer.
    `jitter` as in `lifecycle.after_fetch`. A recheck of the state is due at once.
    """
    fetched_at = now - shared.age
    if reason := next(_reasons(shared, fetched_at, (known, on_file), named, now), ""):
        return reason
    last = known if known and known.policy else on_file
    known = known or on_file
    record_was_gone = last is not None and named is None and last.record_was_gone
    return restored(
        shared.policy,
        shared.policy_id,
        fetched_at,
        fetched_at + refetch_in(shared.policy, jitter),
        dane=known.dane if known else None,
        backoffs=known.backoffs if known else (),
        record_was_gone=record_was_gone,
    )


def _reasons(
    shared: SharedPolicy,
    fetched_at: float,
    known: Iterable[State | None],
    named: PolicyId | None,
    now: float,
) -> Iterator[str]:
    """Yield why a shared policy is not taken."""
    policy = shared.policy
    if policy.mode is not Mode.ENFORCE:
        yield f"its mode is {policy.mode}"
    if named is not None and named != shared.policy_id:
        yield f"its id is {shared.policy_id}, and the record names {named}"
    if fetched_at + policy.max_age <= now:
        yield "it has expired"
    for each in known:
        if each and each.policy:
            if fetched_at <= each.fetched_at + SAME_FETCH:
                yield "it is not newer than what this relay knows"
            if live(each, now):
                yield from _losses(policy, each.policy)


def _losses(policy: Policy, old: Policy) -> Iterator[str]:
    """Yield what a policy that was fetched later would take away from the one in force.

    Any other mx counts, also a subset: it may be that of an attacker, or of last year. A policy in
    mode testing counts, because a map may enforce it.
    """
    if old.mode is Mode.NONE:
        return
    if set(policy.mx) != set(old.mx):
        yield "it names other mail servers than the policy in force"
    if policy.max_age < old.max_age:
        yield "its life is shorter than that of the policy in force"
