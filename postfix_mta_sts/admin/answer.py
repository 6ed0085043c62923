"""What Postfix is answered for a domain, by what the daemon knows of it at this moment.

`mtasts.decision` decides, as it does for a look-up of Postfix; this module only collects what is
known: in memory, in the store, and in the attempt under way. It asks neither the store nor the
network.
"""

from collections.abc import Sequence
from typing import Final

from postfix_mta_sts.admin.serialize import best
from postfix_mta_sts.mtasts.decision import (
    NOT_APPLICABLE,
    Decision,
    Knowledge,
    PolicyStep,
    Rules,
    decide,
    known_policy,
    known_verdict,
    last_step,
)
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.postfix.protocol.reply import PLAIN, Found, ReplyFormat, TryAgain, compose
from postfix_mta_sts.resolver.dane import with_later_verdict
from postfix_mta_sts.values import Value

_WORDS: Final = {
    Decision.SECURE: "secure",
    Decision.DANE_ONLY: "dane-only",
    Decision.DANE: "dane",
    Decision.NOT_FOUND: "not-found",
    Decision.TRY_AGAIN_DANE: "try-again",
    Decision.TRY_AGAIN_POLICY: "try-again",
}


class Answering(Value, frozen=True):
    """The settings on which an answer depends, for the map `postfix`."""

    rules: Rules = Rules()
    dane_is_on: bool = False
    reply_format: ReplyFormat = PLAIN


def collect(
    states: Sequence[State], flying: Knowledge | None, answering: Answering, now: float
) -> Knowledge:
    """Put together what is known of one domain; `flying`: what the attempt under way knows.

    The last verdict counts until the DNS has said something else, as it does during an attempt.
    """
    if flying and flying.state:
        states = [*states, flying.state]
    state = best(states, now)
    for other in states:
        state = state and with_later_verdict(state, other.dane, now)
    is_live = state is not None and now < state.expires_at
    unknown = flying.step if flying else PolicyStep.TXT_PENDING
    step = last_step(state) if state and is_live else unknown
    is_asking = answering.dane_is_on and (state is None or state.dane is None)
    so_far = flying.so_far if flying else None
    return Knowledge(state, step, is_asking, so_far, verdict_was_live=True)


def answer(knowledge: Knowledge, answering: Answering, now: float, *, is_last: bool) -> Decision:
    """Decide what Postfix is answered; WAIT: the next look-up asks the network first.

    `is_last`: no more will be known before the answer.
    """
    verdict = known_verdict(knowledge, now) if answering.dane_is_on else NOT_APPLICABLE
    policy = known_policy(knowledge, now)
    return decide(policy, verdict, answering.rules, time_is_up=is_last)


def word(decision: Decision) -> str | None:
    """Return the answer as one word for programs; None: nothing is answered yet."""
    return _WORDS.get(decision)


def text(
    domain: Domain, decision: Decision, knowledge: Knowledge, answering: Answering, now: float
) -> str | None:
    """Return the answer as Postfix gets it, in one line; None: nothing is answered yet."""
    if decision is Decision.WAIT:
        return None
    reply = compose(domain, decision, knowledge, answering.reply_format, now)
    if isinstance(reply, Found):
        return reply.variants[-1]
    return f"try again: {reply.reason}" if isinstance(reply, TryAgain) else "not found"
