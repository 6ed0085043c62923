"""What a key is answered in each map, by what is known of its domain: pure functions.

`replies` answers requests with `AnswerRules`; the control socket tells with `told` what the same
request would get at this moment.
"""

from collections.abc import Sequence
from typing import Final

from postfix_mta_sts.mtasts.decision import (
    NOT_APPLICABLE,
    Decision,
    Knowledge,
    Rules,
    decide,
    known_policy,
    known_verdict,
    outcome,
)
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.postfix.protocol import socketmap
from postfix_mta_sts.postfix.protocol.nexthop import UnmappedKeyError, dane_applies, policy_domain
from postfix_mta_sts.postfix.protocol.reply import (
    NOT_FOUND,
    PLAIN,
    STRICT,
    TOO_LONG,
    DaneRule,
    Found,
    Reply,
    ReplyFormat,
    TryAgain,
    compose,
)
from postfix_mta_sts.postfix.protocol.wire import Wire
from postfix_mta_sts.resolver.single_flight import LookupResult
from postfix_mta_sts.values import Value


class AnswerRules(Value, frozen=True):
    """The settings on which the answers in all maps depend."""

    dane: DaneRule | None = None
    """The answer if there is a DANE verdict; None: DANE is off."""
    dns_defers: bool = False
    """`dns.on_failure: defer`."""

    def decide(
        self,
        key: bytes,
        domain: Domain,
        knowledge: Knowledge,
        reply_format: ReplyFormat,
        now: float,
        *,
        time_is_up: bool,
    ) -> Decision:
        """What this key of the domain is answered in a map with this format."""
        verdict = NOT_APPLICABLE
        if self.dane and dane_applies(key, domain, outcome(knowledge, now)):
            verdict = known_verdict(knowledge, now)
        dane = self.dane or STRICT
        rules = Rules(dane.answer, dane.defer, self.dns_defers, reply_format.enforce_testing)
        return decide(known_policy(knowledge, now), verdict, rules, time_is_up=time_is_up)


class ServedMap(Value, frozen=True):
    """One map that Postfix may ask: a map name of the settings, or a tcp_table listener."""

    name: str
    """The map name; of a listener without names its protocol and address, with a space between."""
    wire: Wire = socketmap
    reply_format: ReplyFormat = PLAIN


OTHER: Final = ServedMap("")
"""Stands for all map names that are not in the settings (`Maps.reply_format`)."""


class Answering(Value, frozen=True):
    """All settings on which answers depend."""

    rules: AnswerRules = AnswerRules()
    maps: tuple[ServedMap, ...] = (ServedMap("postfix"),)

    @property
    def documented(self) -> ServedMap:
        """The map that the documentation names, `postfix`."""
        wanted = ServedMap("postfix")
        return next((each for each in self.maps if each.name == wanted.name), wanted)


class Told(Value, frozen=True):
    """What Postfix is told for a key in one map; None: the look-up waits for the network."""

    served: ServedMap
    reply: Reply | None


def unmapped(error: UnmappedKeyError) -> TryAgain:
    """The reply to a key whose domain may have a policy, but whose A-labels are not known."""
    return TryAgain(f"MTA-STS: {error}")


def told(
    key: bytes, domain: Domain, result: LookupResult, answering: Answering, now: float
) -> Sequence[Told]:
    """What Postfix is told for a key of this domain, in each map.

    `result` is what `Resolver.preview` has for the domain. Maps that differ only by their name get
    one object.
    """
    made: dict[tuple[str, ReplyFormat], Reply | None] = {}
    for served in answering.maps:
        kind = served.wire.NAME, served.reply_format
        if kind not in made:
            made[kind] = _reply(key, domain, result, served, answering.rules, now)
    return [Told(each, made[each.wire.NAME, each.reply_format]) for each in answering.maps]


def told_without_look_up(key: bytes, answering: Answering) -> Domain | Sequence[Told]:
    """The Policy Domain of a key; for a key that names none, what Postfix is told in each map."""
    reply: Reply = NOT_FOUND
    try:
        if domain := policy_domain(key):
            return domain
    except UnmappedKeyError as error:
        reply = unmapped(error)
    return [Told(each, reply) for each in answering.maps]


def reply_text(reply: Reply) -> str:
    """A reply of `told` as a socketmap server sends it, without the space after `NOTFOUND`."""
    frame = socketmap.encode_reply(reply)
    return frame[frame.index(b":") + 1 : -1].decode().rstrip()


def _reply(
    key: bytes,
    domain: Domain,
    result: LookupResult,
    served: ServedMap,
    rules: AnswerRules,
    now: float,
) -> Reply | None:
    known, form = result.knowledge, served.reply_format
    decision = rules.decide(key, domain, known, form, now, time_is_up=result.time_is_up)
    if decision is Decision.WAIT:
        return None
    return _as_sent(compose(domain, decision, known, form, now), served.wire)


def _as_sent(reply: Reply, wire: Wire) -> Reply:
    """The reply with the one variant that this protocol has room for."""
    if not isinstance(reply, Found):
        return reply
    too_long = wire.encode_reply(TOO_LONG)
    variants = (Found((each,)) for each in reply.variants)
    return next((each for each in variants if wire.encode_reply(each) != too_long), TOO_LONG)
