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
from postfix_mta_sts.mtasts.overrides import NO_OVERRIDE, Override
from postfix_mta_sts.mtasts.policy import Mode, is_enforced
from postfix_mta_sts.postfix.answers import Answering, Told, reply_text
from postfix_mta_sts.postfix.protocol.reply import Found, ReplyFormat, TryAgain
from postfix_mta_sts.resolver.dane import with_later_verdict
from postfix_mta_sts.resolver.single_flight import LookupResult
from postfix_mta_sts.values import replace

_WORDS: Final = {
    Decision.SECURE: "secure",
    Decision.PIN: "secure",
    Decision.DANE_ONLY: "dane-only",
    Decision.DANE: "dane",
    Decision.ENCRYPT: "encrypt",
    Decision.MAY: "may",
    Decision.NOT_FOUND: "not-found",
    Decision.TRY_AGAIN_DANE: "try-again",
    Decision.TRY_AGAIN_POLICY: "try-again",
}

_BY_DNS: Final = {
    Decision.DANE_ONLY: "dane",
    Decision.DANE: "dane",
    Decision.TRY_AGAIN_DANE: "dane-unknown",
    Decision.TRY_AGAIN_POLICY: "policy-unknown",
}
"""Why these are answered, whatever else is known."""


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
    form = answering.documented.reply_format
    reply = answering.rules.compose(domain, decision, knowledge, form, now)
    if isinstance(reply, Found):
        return reply.variants[-1]
    return f"try again: {reply.reason}" if isinstance(reply, TryAgain) else "not found"


def why(
    domain: Domain, decision: Decision, result: LookupResult, answering: Answering, now: float
) -> str | None:
    """Return why Postfix is answered this, as one word for programs; None: it is not answered yet.

    `decision` is that of `answer`. `enforce`, `testing`, `none`: the mode of the policy;
    `no-policy`: there is none in force; `dane`: the verdict, or, if the answer is "not found", the
    level dane of main.cf; `dane-unknown` and `policy-unknown`: the DNS did not say; `trial`,
    `exception`: without it the answer would be another one.
    """
    if decision is Decision.WAIT:
        return None
    if by_dns := _BY_DNS.get(decision):
        return by_dns
    form = answering.documented.reply_format
    instead = answering.rules.override(domain, form, now)
    if instead != NO_OVERRIDE:
        if decision is not answer(domain, result, answering.without_trial, now):
            return "trial"
        if decision is not answer(domain, result, answering.as_published, now):
            return "exception"
    mode = known_policy(result.knowledge, now).mode
    if decision is Decision.NOT_FOUND and _asks_for_more(mode, instead, form):
        return "dane"
    return str(mode) if mode else "no-policy"


def _asks_for_more(mode: Mode | None, instead: Override, form: ReplyFormat) -> bool:
    """Whether "not found" is no answer to what the policy, or an exception, asks for."""
    if instead.in_place is not None and instead.in_place is not Decision.NOT_FOUND:
        return True
    return is_enforced(mode, testing=form.enforce_testing or instead.enforce_testing)


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
