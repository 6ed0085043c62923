"""What Postfix is answered for a key, as plain data.

`postfix.answers` decides, as it does for a request of Postfix; `Resolver.preview` has what a
look-up knows. This module asks neither the store nor the network.
"""

from collections.abc import Sequence
from typing import Any, Final

from postfix_mta_sts.admin.serialize import best
from postfix_mta_sts.mtasts.decision import Decision, Knowledge, known_policy, last_step
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.mtasts.policy import Mode
from postfix_mta_sts.postfix.answers import Answering, Told, reply_text
from postfix_mta_sts.postfix.protocol.reply import Found, TryAgain, compose
from postfix_mta_sts.resolver.dane import with_later_verdict
from postfix_mta_sts.resolver.single_flight import LookupResult
from postfix_mta_sts.values import replace

_WORDS: Final = {
    Decision.SECURE: "secure",
    Decision.DANE_ONLY: "dane-only",
    Decision.DANE: "dane",
    Decision.NOT_FOUND: "not-found",
    Decision.TRY_AGAIN_DANE: "try-again",
    Decision.TRY_AGAIN_POLICY: "try-again",
}


def together(states: Sequence[State], now: float) -> State | None:
    """Put together what is known of one domain in memory, store and the attempt under way."""
    state = best(states, now)
    for other in states:
        state = state and with_later_verdict(state, other.dane, now)
    return state


def likely(result: LookupResult, now: float) -> LookupResult:
    """Return what a look-up will know if the network says what it said last.

    The next look-up asks it again if a verdict has expired, and most verdicts stay. Where nothing
    is known of DANE, or no policy or absence is in force, there is nothing to expect.
    """
    known = result.knowledge
    if known.state is None or known.state.dane is None:
        return result
    step = last_step(known.state) if now < known.state.expires_at else known.step
    known = replace(known, step=step, is_asking_dane=False, verdict_was_live=True)
    return replace(result, knowledge=known)


def answer(
    domain: Domain, result: LookupResult, answering: Answering, now: float, *, is_last: bool = False
) -> Decision:
    """Decide what Postfix is answered in the map `postfix`; WAIT: it asks the network first.

    `is_last`: no more will be known before the answer.
    """
    form, key = answering.documented.reply_format, domain.encode()
    is_last = is_last or result.time_is_up
    return answering.rules.decide(key, domain, result.knowledge, form, now, time_is_up=is_last)


def word(decision: Decision) -> str | None:
    """Return the answer as one word for programs; None: nothing is answered yet."""
    return _WORDS.get(decision)


def text(
    domain: Domain, decision: Decision, knowledge: Knowledge, answering: Answering, now: float
) -> str | None:
    """Return the answer in the map `postfix` in one line; None: nothing is answered yet."""
    if decision is Decision.WAIT:
        return None
    reply = compose(domain, decision, knowledge, answering.documented.reply_format, now)
    if isinstance(reply, Found):
        return reply.variants[-1]
    return f"try again: {reply.reason}" if isinstance(reply, TryAgain) else "not found"


def why(decision: Decision, knowledge: Knowledge, answering: Answering, now: float) -> str | None:
    """Return why Postfix is answered this, as one word for programs; None: it is not answered yet.

    `enforce`, `testing`, `none`: the mode of the policy; `no-policy`: there is none in force;
    `dane`: the verdict, or, if the answer is "not found", the level dane of main.cf; `dane-unknown`
    and `policy-unknown`: the DNS did not say.
    """
    mode = known_policy(knowledge, now).mode
    match decision:
        case Decision.DANE_ONLY | Decision.DANE:
            return "dane"
        case Decision.TRY_AGAIN_DANE:
            return "dane-unknown"
        case Decision.TRY_AGAIN_POLICY:
            return "policy-unknown"
        case Decision.NOT_FOUND if mode is Mode.ENFORCE or (
            mode is Mode.TESTING and answering.documented.reply_format.enforce_testing
        ):
            return "dane"
        case Decision.SECURE | Decision.NOT_FOUND:
            return str(mode) if mode else "no-policy"
    return None


def replies_to_json(replies: Sequence[Told]) -> list[dict[str, Any]]:
    """Convert what Postfix is told in each map."""
    return [
        {
            "map": each.served.name,
            "wire": each.served.wire.NAME,
            "reply": each.reply and reply_text(each.reply),
        }
        for each in replies
    ]
