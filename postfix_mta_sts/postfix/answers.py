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
from postfix_mta_sts.mtasts.exceptions import NO_EXCEPTIONS, Exceptions
from postfix_mta_sts.mtasts.overrides import Override, override
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
from postfix_mta_sts.values import Value, replace


class AnswerRules(Value, frozen=True):
    """The settings on which the answers in all maps depend."""

    dane: DaneRule | None = None
    """The answer if there is a DANE verdict; None: DANE is off."""
    dns_defers: bool = False
    """`dns.on_failure: defer`."""
    exceptions: Exceptions = NO_EXCEPTIONS
    trial_dane: bool = False
    """`trial.dane`: where policies are on trial, DANE verdicts are, too."""

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
        instead = self.override(domain, reply_format, now)
        verdict = NOT_APPLICABLE
        applies = self.dane and not instead.ignores_dane
        if applies and dane_applies(key, domain, outcome(knowledge, now)):
            verdict = known_verdict(knowledge, now)
        dane = self.dane or STRICT
        enforce_testing = reply_format.enforce_testing or instead.enforce_testing
        rules = Rules(dane.answer, dane.defer, self.dns_defers, enforce_testing, instead.in_place)
        return decide(known_policy(knowledge, now), verdict, rules, time_is_up=time_is_up)

    def override(self, domain: Domain, reply_format: ReplyFormat, now: float) -> Override:
        """What stands in place of what the domain publishes, in a map with this format."""
        found = self.exceptions.in_force(domain, now)
        return override(found, trial=reply_format.trial, trial_dane=self.trial_dane)

    def compose(
        self,
        domain: Domain,
        decision: Decision,
        knowledge: Knowledge,
        reply_format: ReplyFormat,
        now: float,
    ) -> Reply:
        """The reply for what `decide` has decided at the same time.

        Raises `ValueError` for `Decision.WAIT`.
        """
        pin = self.exceptions.in_force(domain, now) if decision is Decision.PIN else None
        pinned = pin.mx if pin else ()
        return compose(domain, decision, knowledge, reply_format, now, pinned)


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
    other: ServedMap = OTHER
    """Stands for all map names that are not in the settings; they are answered alike."""

    @property
    def documented(self) -> ServedMap:
        """The map that the documentation names, `postfix`."""
        return self.served("postfix")

    def served(self, name: str) -> ServedMap:
        """The map with this name, which need not be in the settings."""
        unnamed = replace(self.other, name=name)
        return next((each for each in self.maps if each.name == name), unnamed)

    @property
    def without_trial(self) -> "Answering":
        """The same settings with the trial off: what would be answered without it."""
        return self._with_trial(on=False)

    @property
    def on_trial(self) -> "Answering":
        """The same settings with all policies on trial, and DANE not."""
        return self._with_trial(on=True)

    def _with_trial(self, *, on: bool) -> "Answering":
        maps = (_with_trial(each, on=on) for each in self.maps)
        rules = replace(self.rules, trial_dane=False)
        return Answering(rules, tuple(maps), _with_trial(self.other, on=on))

    @property
    def as_published(self) -> "Answering":
        """The same settings without trial and exceptions.

        By these, what a domain publishes decides alone; a check asks what would become of its mail.
        """
        plain = self.without_trial
        return replace(plain, rules=replace(plain.rules, exceptions=NO_EXCEPTIONS))


def _with_trial(served: ServedMap, *, on: bool) -> ServedMap:
    return replace(served, reply_format=replace(served.reply_format, trial=on))


class Told(Value, frozen=True):
    """What Postfix is told for a key in one map; None: the look-up waits for the network."""

    served: ServedMap
    reply: Reply | None


def unmapped(error: UnmappedKeyError, reply_format: ReplyFormat) -> Reply:
    """The reply to a key whose domain may have a policy, but whose A-labels are not known.

    On trial no policy is enforced, so that there is nothing to try again for.
    """
    return NOT_FOUND if reply_format.trial else TryAgain(f"MTA-STS: {error}")


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
    try:
        if domain := policy_domain(key):
            return domain
    except UnmappedKeyError as error:
        return [Told(each, unmapped(error, each.reply_format)) for each in answering.maps]
    return [Told(each, NOT_FOUND) for each in answering.maps]


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
    return _as_sent(rules.compose(domain, decision, known, form, now), served.wire)


def _as_sent(reply: Reply, wire: Wire) -> Reply:
    """The reply with the one variant that this protocol has room for."""
    if not isinstance(reply, Found):
        return reply
    too_long = wire.encode_reply(TOO_LONG)
    variants = (Found((each,)) for each in reply.variants)
    return next((each for each in variants if wire.encode_reply(each) != too_long), TOO_LONG)
