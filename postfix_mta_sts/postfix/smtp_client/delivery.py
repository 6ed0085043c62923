"""Predict the first delivery attempt of smtp(8): which addresses it tries, and how it ends.

Follows smtp_connect_inet() in Postfix's sources. What comes after EHLO in TLS (the sender, the
recipient, the message) is taken to be accepted.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from postfix_mta_sts.mtasts.policy import Policy
from postfix_mta_sts.network.mail_hosts_values import MailHosts
from postfix_mta_sts.network.smtp.values import ProbeResult, ProbeTarget, by_address
from postfix_mta_sts.postfix.smtp_client.authentication import (
    MATCHED,
    Demand,
    demand,
    nominal_level,
)
from postfix_mta_sts.postfix.smtp_client.conformance import conformance
from postfix_mta_sts.postfix.smtp_client.conversation import Judgement, judge
from postfix_mta_sts.postfix.smtp_client.route import (
    Address,
    Route,
    find_route,
    shuffled,
    within_limit,
)
from postfix_mta_sts.postfix.smtp_client.values import (
    Delivery,
    HostOutcome,
    InvalidTlsPolicy,
    Level,
    MainCf,
    NextHop,
    Outcome,
    TlsPolicy,
)
from postfix_mta_sts.postfix.smtp_client.words import Words, say
from postfix_mta_sts.values import Value

MAX_TARGETS: Final = 20
"""Addresses of one next-hop that are worth a probe."""

SENT: Final = "2.0.0"
_NOTHING_TRIED: Final = say("4.3.0", "server unavailable or unable to receive mail")
_RELAYHOST: Final = "4.3.5"

AnyPolicy: TypeAlias = TlsPolicy | InvalidTlsPolicy | None


class _Step(Value, frozen=True):
    """One address, and all that is known of it."""

    address: Address
    demand: Demand
    probe: ProbeResult | None = None
    judgement: Judgement | None = None

    @property
    def is_connected(self) -> bool:
        """Whether smtp(8) connects to it, if it comes to that."""
        return not self.demand.is_skipped and self.demand.refusal is None

    @property
    def accepts(self) -> bool:
        """Whether the message is sent there."""
        return self.is_connected and self.judgement is not None and self.judgement.words is None

    @property
    def is_known(self) -> bool:
        """Whether smtp(8) must find the same."""
        if not self.is_connected:
            return self.demand.is_known
        return self.demand.is_known and self.judgement is not None and self.judgement.is_known


class _Walk(Value, frozen=True):
    """The addresses that were tried, in order, and the end."""

    steps: tuple[_Step, ...]
    words: Words | None
    """None: the last one takes the message."""

    @property
    def tls(self) -> str | None:
        """The session in which the message is sent."""
        last = self.steps[-1].judgement if self.steps and not self.words else None
        return last.tls if last else None


def targets(
    next_hop: NextHop, hosts: MailHosts, policy: AnyPolicy, main_cf: MainCf
) -> tuple[ProbeTarget, ...]:
    """The addresses that are worth a probe, as smtp(8) would talk to them, at most `MAX_TARGETS`.

    First those that smtp(8) tries, then one of each other host, then those that it may try in
    their place, because Postfix shuffles addresses of the same rank. A host that smtp(8) refuses
    unseen is talked to as RFC 8461 wants it.
    """
    steps = _steps(next_hop, hosts, policy, main_cf)
    tried = _within_limit(steps, main_cf)
    covered = {step.address.host.name for step in tried}
    others = {s.address.host.name: s for s in reversed(steps) if s.address.host.name not in covered}
    return _as_targets((*tried, *reversed(others.values()), *_instead(steps, tried)), next_hop)


def targets_of_mail(
    next_hop: NextHop, hosts: MailHosts, policy: AnyPolicy, main_cf: MainCf
) -> tuple[ProbeTarget, ...]:
    """Those of `targets` to which smtp(8) itself may connect for one message.

    The owner of a domain chooses the addresses: a probe that no person asked for goes nowhere else.
    """
    steps = _steps(next_hop, hosts, policy, main_cf)
    tried = _within_limit(steps, main_cf)
    wanted = (*tried, *_instead(steps, tried))
    return _as_targets((step for step in wanted if step.is_connected), next_hop)


def predict(
    next_hop: NextHop,
    hosts: MailHosts,
    policy: AnyPolicy,
    probes: Sequence[ProbeResult],
    main_cf: MainCf,
    published: Policy | None = None,
) -> Delivery:
    """What smtp(8) does with a new message, by what the probes of `targets` found.

    `policy` is the entry of smtp_tls_policy_maps; None: it has none. `published` is what the domain
    publishes, in any mode: each host is compared with it by RFC 8461 as well.
    """
    route = find_route(next_hop, hosts, main_cf)
    found = by_address(probes)
    steps = _judged(_steps(next_hop, hosts, policy, main_cf), found, main_cf)
    walk = _walk(steps, route, next_hop, main_cf)
    words = walk.words
    return Delivery(
        outcome=_outcome(words),
        dsn=words.dsn if words else SENT,
        text=words.text if words else "",
        level=nominal_level(policy, main_cf),
        host=_last_host(walk),
        tls=walk.tls,
        hosts=tuple(_host_outcome(s, walk, published) for s in _walked_first(steps, walk)),
        plain_later=words is not None and _plain_later(walk),
        is_certain=_is_certain(steps, route, next_hop, main_cf, walk),
    )


def _steps(
    next_hop: NextHop, hosts: MailHosts, policy: AnyPolicy, main_cf: MainCf
) -> tuple[_Step, ...]:
    addresses = find_route(next_hop, hosts, main_cf).addresses
    demands = {each.host: demand(each.host, next_hop, hosts, policy, main_cf) for each in addresses}
    return tuple(_Step(each, demands[each.host]) for each in addresses)


def _key(address: Address) -> tuple[str, str]:
    return address.host.name, address.text


def _within_limit(steps: Sequence[_Step], main_cf: MainCf) -> tuple[_Step, ...]:
    return within_limit(steps, [step.address.is_ipv6 for step in steps], main_cf)


def _instead(steps: Iterable[_Step], tried: Iterable[_Step]) -> Iterator[_Step]:
    """Those that Postfix may try in place of others, because it shuffles those of the same rank."""
    ranks = {step.address.rank for step in tried}
    return (step for step in steps if step.address.rank in ranks)


def _as_targets(steps: Iterable[_Step], next_hop: NextHop) -> tuple[ProbeTarget, ...]:
    wanted = {_key(step.address): step for step in steps}
    return tuple(_target(step, next_hop) for step in list(wanted.values())[:MAX_TARGETS])


def _target(step: _Step, next_hop: NextHop) -> ProbeTarget:
    wanted = step.demand
    return ProbeTarget(
        host=step.address.host.name,
        address=step.address.text,
        port=next_hop.port,
        sni=wanted.sni,
        starttls=wanted.level is not Level.NONE or wanted.refusal is not None,
        is_verified=wanted.level in MATCHED or wanted.refusal is not None,
        tlsa=wanted.tlsa,
        tlsa_names=wanted.tlsa_names,
    )


def _judged(
    steps: Sequence[_Step], found: Mapping[tuple[str, str], ProbeResult], main_cf: MainCf
) -> tuple[_Step, ...]:
    best = min((step.address.rank[0] for step in steps), default=0)

    def judged(step: _Step) -> _Step:
        probe = found.get(_key(step.address))
        is_best = step.address.rank[0] == best
        judgement = judge(probe, step.demand, main_cf, is_best=is_best) if probe else None
        return _Step(step.address, step.demand, probe, judgement)

    return tuple(map(judged, steps))


def _walk(steps: Sequence[_Step], route: Route, next_hop: NextHop, main_cf: MainCf) -> _Walk:
    """Go from address to address until one takes the message, or bounces it."""
    words, tried = route.words, list[_Step]()
    for step in _within_limit(steps, main_cf):
        tried.append(step)
        if step.accepts:
            return _Walk(tuple(tried), None)
        if step.demand.is_skipped:
            continue
        words = step.demand.refusal or (step.judgement.words if step.judgement else None)
        if step.is_connected and words and words.is_hard:
            return _Walk(tuple(tried), words)
    if words and words.is_hard and main_cf.relayhost and next_hop.text == main_cf.relayhost:
        words = Words(_RELAYHOST, words.text)
    return _Walk(tuple(tried), words or _NOTHING_TRIED)


def _outcome(words: Words | None) -> Outcome:
    if words is None:
        return Outcome.SENT
    return Outcome.BOUNCED if words.is_hard else Outcome.DEFERRED


def _last_host(walk: _Walk) -> str | None:
    names = [step.address.host.name for step in walk.steps if not step.demand.is_skipped]
    return names[-1] if names else None


def _plain_later(walk: _Walk) -> bool:
    judgements = (step.judgement for step in walk.steps if step.is_connected)
    return any(each.tries_plain for each in judgements if each)


def _walked_first(steps: Sequence[_Step], walk: _Walk) -> Iterable[_Step]:
    return (*walk.steps, *(step for step in steps if step not in walk.steps))


def _host_outcome(step: _Step, walk: _Walk, published: Policy | None) -> HostOutcome:
    judgement = step.judgement or Judgement()
    words = step.demand.refusal or judgement.words
    rfc = conformance(published, step.address.host.name, step.probe)
    return HostOutcome(
        host=step.address.host.name,
        address=step.address.text,
        is_tried=step in walk.steps,
        accepts=step.accepts,
        level=step.demand.level,
        tls=judgement.tls if step.is_connected else None,
        dsn=words.dsn if words else "",
        text=words.text if words else "",
        skipped=step.demand.is_skipped,
        identity=judgement.identity,
        conforms=rfc.conforms,
        breach=rfc.breach,
    )


def _is_certain(
    steps: Sequence[_Step], route: Route, next_hop: NextHop, main_cf: MainCf, walk: _Walk
) -> bool:
    """Whether all addresses on the way are known, and their order does not matter."""
    if not all(step.is_known for step in walk.steps):
        return False
    if not route.are_words_certain and all(step.demand.is_skipped for step in walk.steps):
        return False
    others = (_walk(order, route, next_hop, main_cf) for order in _orders(steps))
    return all(
        (other.words, other.tls) == (walk.words, walk.tls)
        and all(step.is_known for step in other.steps)
        for other in others
    )


def _orders(steps: Sequence[_Step]) -> Iterator[Sequence[_Step]]:
    """Orders in which Postfix may shuffle the addresses, among them the best and the worst."""
    yield from shuffled(steps, _rank)
    yield sorted(steps, key=lambda step: (_rank(step), step.accepts))
    yield sorted(steps, key=lambda step: (_rank(step), not step.accepts))


def _rank(step: _Step) -> tuple[int, int]:
    return step.address.rank
