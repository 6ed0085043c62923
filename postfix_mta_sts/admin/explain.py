"""Look up a domain now and record each step, for `postfix-mta-sts query`.

It calls the same functions as a look-up of Postfix does, but stores and changes nothing. The
`Explanation` is filled in step by step, so that it can be shown while the look-up runs. `report`
converts it to text and JSON.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from postfix_mta_sts.mtasts import lifecycle
from postfix_mta_sts.mtasts.dane import DaneOutcome
from postfix_mta_sts.mtasts.decision import (
    NOT_APPLICABLE,
    Knowledge,
    PolicyStep,
    decide,
    known_policy,
    known_verdict,
)
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import DnsFailureError, MtaStsError, NoRecordError, printable
from postfix_mta_sts.mtasts.policy import Policy, parse_policy
from postfix_mta_sts.mtasts.record import PolicyId, parse_records, record_name
from postfix_mta_sts.mtasts.verdict import Verdict, after_verdict
from postfix_mta_sts.network.dns import TxtAnswer
from postfix_mta_sts.network.trace import FetchTrace
from postfix_mta_sts.postfix.protocol import socketmap
from postfix_mta_sts.postfix.protocol.reply import PLAIN, STRICT, DaneRule, ReplyFormat, compose
from postfix_mta_sts.values import replace


@dataclass(slots=True)
class Explanation:
    """The result of each step; None for steps that were not reached."""

    domain: Domain
    texts: tuple[str, ...] | None = None
    ttl: int | None = None
    policy_id: PolicyId | None = None
    trace: FetchTrace | None = None
    body: bytes | None = None
    policy: Policy | None = None
    error: MtaStsError | None = None
    dane: DaneOutcome | None = None
    dane_so_far: DaneOutcome | None = None
    """What was found while the DANE look-up ran; see `DaneClient.look_up_dane`."""
    dane_skipped: str | None = None
    """The reason if DANE was not checked."""
    reply: str | None = None
    reply_tlsrpt: str | None = None
    interrupted: bool = False
    """Whether the look-up was given up before its end."""

    @property
    def record_name(self) -> str:
        """The name of the TXT record."""
        return record_name(self.domain)

    @property
    def unprotected(self) -> bool:
        """Whether the domain publishes no policy, as opposed to one that cannot be fetched."""
        return isinstance(self.error, NoRecordError)


LookUpTxt: TypeAlias = Callable[[Domain], Awaitable[TxtAnswer]]
OnDane: TypeAlias = Callable[[DaneOutcome], None]
LookUpDane: TypeAlias = Callable[[Domain, OnDane], Awaitable[DaneOutcome | str]]
"""Returns the outcome, or the reason why DANE is not looked up."""
FetchBody: TypeAlias = Callable[[Domain, FetchTrace], Awaitable[bytes]]


async def explain(
    seen: Explanation,
    look_up_txt: LookUpTxt,
    fetch_body: FetchBody,
    look_up_dane: LookUpDane,
    rule: DaneRule = STRICT,
) -> None:
    """Look up the TXT record, the policy and the DANE records of a domain; record each step.

    `rule` decides how the verdict changes the reply.
    """
    await asyncio.gather(
        _find_policy(seen, look_up_txt, fetch_body), _find_dane(seen, look_up_dane)
    )
    verdict = after_verdict(None, seen.dane, 0.0) if seen.dane else None
    seen.reply = _reply(seen, PLAIN, verdict, rule)
    seen.reply_tlsrpt = _reply(seen, ReplyFormat(tlsrpt=True), verdict, rule)


async def _find_dane(seen: Explanation, look_up_dane: LookUpDane) -> None:
    def on_progress(outcome: DaneOutcome) -> None:
        seen.dane_so_far = outcome

    found = await look_up_dane(seen.domain, on_progress)
    if isinstance(found, str):
        seen.dane_skipped = found
    else:
        seen.dane = found


async def _find_policy(seen: Explanation, look_up_txt: LookUpTxt, fetch_body: FetchBody) -> None:
    try:
        answer = await look_up_txt(seen.domain)
        seen.texts, seen.ttl = tuple(map(printable, answer.texts)), answer.ttl
        seen.policy_id = parse_records(answer.texts)
        seen.trace = FetchTrace()
        seen.body = await fetch_body(seen.domain, seen.trace)
        seen.policy = parse_policy(seen.body)
    except MtaStsError as error:
        seen.error = error


def _reply(
    seen: Explanation, reply_format: ReplyFormat, verdict: Verdict | None, rule: DaneRule
) -> str:
    """Return the reply as a socketmap sends it, which limits its length."""
    knowledge = _knowledge(seen, verdict)
    known = known_verdict(knowledge, 0.0) if verdict else NOT_APPLICABLE
    rules = rule.rules(dns_defers=False, enforce_testing=reply_format.enforce_testing)
    decision = decide(known_policy(knowledge, 0.0), known, rules, time_is_up=True)
    reply = compose(seen.domain, decision, knowledge, reply_format, 0.0)
    frame = socketmap.encode_reply(reply)
    return frame[frame.index(b":") + 1 : -1].decode().rstrip()


def _knowledge(seen: Explanation, verdict: Verdict | None) -> Knowledge:
    """Return what a look-up would know now."""
    if seen.policy and seen.policy_id:
        state = lifecycle.restored(seen.policy, seen.policy_id, 0.0, 0.0, verdict)
        return Knowledge(state, PolicyStep.ANSWERED)
    unanswered = isinstance(seen.error, DnsFailureError)
    step = PolicyStep.DNS_FAILED if unanswered else PolicyStep.ANSWERED
    return Knowledge(replace(lifecycle.unknown(0.0), dane=verdict), step)
