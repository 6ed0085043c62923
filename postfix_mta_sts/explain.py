"""What is found of a domain if the network is asked now, step by step.

Border: it walks the same functions as a look-up, keeps nothing and changes nothing; what it saw
is a frozen `Explanation`, which `cli` prints.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from postfix_mta_sts.discovery import TxtAnswer
from postfix_mta_sts.exchange import Exchange
from postfix_mta_sts.mtasts import lifecycle
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import MtaStsError, NoRecordError, printable
from postfix_mta_sts.mtasts.policy import Policy, parse_policy
from postfix_mta_sts.mtasts.record import PolicyId, parse_records, record_name
from postfix_mta_sts.postfix import socketmap
from postfix_mta_sts.postfix.reply import PLAIN, Dress, compose


@dataclass(slots=True)
class Explanation:
    """The steps that were taken; None for those that were not reached."""

    domain: Domain
    record_name: str
    texts: tuple[str, ...] | None = None
    ttl: int | None = None
    policy_id: PolicyId | None = None
    exchange: Exchange | None = None
    body: bytes | None = None
    policy: Policy | None = None
    error: MtaStsError | None = None
    reply: str = "NOTFOUND"
    reply_tlsrpt: str = "NOTFOUND"

    @property
    def unprotected(self) -> bool:
        """Whether the domain publishes no policy, rather than one that cannot be had."""
        return isinstance(self.error, NoRecordError)


async def explain(
    domain: Domain,
    txt: Callable[[Domain], Awaitable[TxtAnswer]],
    body: Callable[[Domain, Exchange], Awaitable[bytes]],
) -> Explanation:
    """Ask for the record and the policy of a domain, and say what came of each step."""
    seen = Explanation(domain, record_name(domain))
    try:
        answer = await txt(domain)
        seen.texts, seen.ttl = tuple(map(printable, answer.texts)), answer.ttl
        seen.policy_id = parse_records(answer.texts)
        seen.exchange = Exchange()
        seen.body = await body(domain, seen.exchange)
        seen.policy = parse_policy(seen.body)
    except MtaStsError as error:
        seen.error = error
    if seen.policy and seen.policy_id:
        state = lifecycle.restored(seen.policy, seen.policy_id, 0.0, 0.0)
        seen.reply = _told(domain, state, PLAIN)
        seen.reply_tlsrpt = _told(domain, state, Dress(tlsrpt=True))
    return seen


def _told(domain: Domain, state: lifecycle.State, dress: Dress) -> str:
    """What goes over a socketmap, which may be less than all that there is to say."""
    frame = socketmap.encode_reply(compose(domain, state, dress))
    return frame[frame.index(b":") + 1 : -1].decode().rstrip()
