"""What is found of a domain if the network is asked now, step by step.

Border: it walks the same functions as a look-up, keeps nothing and changes nothing; what it saw
is a frozen `Explanation`, which `cli` prints.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from postfix_mta_sts.mtasts import lifecycle
from postfix_mta_sts.mtasts.dane import DaneOutcome, Verdict, after_verdict
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import MtaStsError, NoRecordError, printable
from postfix_mta_sts.mtasts.policy import Policy, parse_policy
from postfix_mta_sts.mtasts.record import PolicyId, parse_records, record_name
from postfix_mta_sts.network.dns import TxtAnswer
from postfix_mta_sts.network.trace import FetchTrace
from postfix_mta_sts.postfix.protocol import socketmap
from postfix_mta_sts.postfix.protocol.reply import PLAIN, STRICT, DaneRule, ReplyFormat, compose
from postfix_mta_sts.resolver.dane import DaneLookup


@dataclass(slots=True)
class Explanation:
    """The steps that were taken; None for those that were not reached."""

    domain: Domain
    record_name: str
    texts: tuple[str, ...] | None = None
    ttl: int | None = None
    policy_id: PolicyId | None = None
    trace: FetchTrace | None = None
    body: bytes | None = None
    policy: Policy | None = None
    error: MtaStsError | None = None
    dane: DaneOutcome | None = None
    dane_unasked: str | None = None
    """Why DANE was not looked at, if so."""
    reply: str = "NOTFOUND"
    reply_tlsrpt: str = "NOTFOUND"

    @property
    def unprotected(self) -> bool:
        """Whether the domain publishes no policy, rather than one that cannot be had."""
        return isinstance(self.error, NoRecordError)


Txt: TypeAlias = Callable[[Domain], Awaitable[TxtAnswer]]
Body: TypeAlias = Callable[[Domain, FetchTrace], Awaitable[bytes]]


async def explain(
    domain: Domain, txt: Txt, body: Body, dane_lookup: DaneLookup | str, rule: DaneRule = STRICT
) -> Explanation:
    """Ask for the record, the policy and the DANE of a domain, and say what came of each step.

    `dane_lookup`: who asks for DANE, or why nobody does; by `rule` Postfix is told of it.
    """
    seen = Explanation(domain, record_name(domain))
    if isinstance(dane_lookup, str):
        seen.dane_unasked = dane_lookup
        await _ask_for_policy(seen, txt, body)
    else:
        seen.dane, _ = await asyncio.gather(dane_lookup(domain), _ask_for_policy(seen, txt, body))
    verdict = after_verdict(None, seen.dane, 0.0) if seen.dane else None
    seen.reply = _told(seen, PLAIN, verdict, rule)
    seen.reply_tlsrpt = _told(seen, ReplyFormat(tlsrpt=True), verdict, rule)
    return seen


async def _ask_for_policy(seen: Explanation, txt: Txt, body: Body) -> None:
    try:
        answer = await txt(seen.domain)
        seen.texts, seen.ttl = tuple(map(printable, answer.texts)), answer.ttl
        seen.policy_id = parse_records(answer.texts)
        seen.trace = FetchTrace()
        seen.body = await body(seen.domain, seen.trace)
        seen.policy = parse_policy(seen.body)
    except MtaStsError as error:
        seen.error = error


def _told(
    seen: Explanation, reply_format: ReplyFormat, verdict: Verdict | None, rule: DaneRule
) -> str:
    """What goes over a socketmap, which may be less than all that there is to say."""
    frame = socketmap.encode_reply(compose(seen.domain, _state(seen), reply_format, verdict, rule))
    return frame[frame.index(b":") + 1 : -1].decode().rstrip()


def _state(seen: Explanation) -> lifecycle.State:
    """What would be known of the domain now."""
    if seen.policy and seen.policy_id:
        return lifecycle.restored(seen.policy, seen.policy_id, 0.0, 0.0)
    return lifecycle.after_fault(None, seen.error or NoRecordError(), 0.0)
