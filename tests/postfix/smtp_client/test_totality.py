"""Properties of a prediction, for all values."""

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.dane import HostState
from postfix_mta_sts.mtasts.policy import parse_policy
from postfix_mta_sts.network.mail_hosts_values import DnsProblem, HostDane, MailHosts, MxHost
from postfix_mta_sts.network.smtp.names import identity
from postfix_mta_sts.network.smtp.values import (
    Certificate,
    FailureKind,
    Identity,
    Phase,
    ProbeResult,
    SmtpFailure,
    SmtpReply,
    TlsaMatch,
    TlsaRecord,
    TlsSession,
    VerifyError,
)
from postfix_mta_sts.postfix.smtp_client.authentication import demand
from postfix_mta_sts.postfix.smtp_client.delivery import MAX_TARGETS, predict, targets
from postfix_mta_sts.postfix.smtp_client.values import (
    InvalidTlsPolicy,
    Level,
    MainCf,
    NextHop,
    Outcome,
    TlsPolicy,
)
from postfix_mta_sts.postfix.smtp_client.words import normalise
from postfix_mta_sts.values import replace


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Sometimes None."""
    return st.none() | strategy


_NAMES = st.sampled_from(["mx1.x.test", "mx2.x.test", "x.test", "127.0.1.9", "", ".", "b d", "*.t"])
_ADDRESSES = st.sampled_from(["127.0.1.1", "127.0.1.2", "127.0.1.3", "::1", "::2", "nonsense"])
_MATCHES = st.sampled_from([".x.test", "mx1.x.test", "hostname", "nexthop", ".", "", "dot-nexthop"])
_TLSA = st.builds(
    TlsaRecord,
    usage=st.integers(0, 255),
    selector=st.integers(0, 2),
    matching=st.sampled_from([0, 1, 255]),
    data=st.sampled_from(["", "ab"]),
)
_DANE = st.builds(
    HostDane,
    state=st.sampled_from(HostState),
    step=st.just("step"),
    base=_NAMES,
    records=st.lists(_TLSA, max_size=2).map(tuple),
)
_HOSTS = st.builds(
    MxHost,
    name=_NAMES,
    preference=st.integers(0, 3),
    addresses=st.lists(_ADDRESSES, max_size=3).map(tuple),
    problem=maybe(st.sampled_from(DnsProblem)),
    dane=maybe(_DANE),
)
_MAIL_HOSTS = st.builds(
    MailHosts,
    hosts=st.lists(_HOSTS, max_size=4).map(tuple),
    implicit=st.booleans(),
    mx_is_secure=st.booleans(),
    aliases=st.lists(_NAMES, max_size=2).map(tuple),
    problem=maybe(st.sampled_from(DnsProblem)),
)
_CERTIFICATES = st.builds(
    Certificate,
    subject=st.just(""),
    issuer=st.just(""),
    common_name=maybe(_NAMES),
    dns_names=st.lists(_NAMES, max_size=2).map(tuple),
    not_before=st.just(0),
    not_after=st.just(0),
    sha256=st.just(""),
)
_SESSIONS = st.builds(
    TlsSession,
    version=st.sampled_from(["TLSv1.3", "TLSv1.1", ""]),
    cipher=st.just(""),
    chain=st.lists(_CERTIFICATES, max_size=2).map(tuple),
    error=maybe(st.just(VerifyError(10, 0, "expired"))),
    tlsa=maybe(st.builds(TlsaMatch, record=maybe(_TLSA), depth=st.none(), reason=st.just(""))),
)
_REPLIES = st.builds(
    SmtpReply,
    code=st.integers(0, 999),
    text=st.text(max_size=9),
    status=st.sampled_from(["", "5.7.1", "4.7.0", "x"]),
)
_FAILURES = st.builds(
    SmtpFailure,
    phase=st.sampled_from(Phase),
    kind=st.sampled_from(FailureKind),
    reason=st.text(max_size=9),
    reply=maybe(_REPLIES),
)
_RESULTS = st.builds(
    ProbeResult,
    target=st.none(),
    steps=st.just(()),
    failure=maybe(_FAILURES),
    greeted_as=maybe(_NAMES),
    offers_starttls=maybe(st.booleans()),
    tls=maybe(_SESSIONS),
)
_POLICIES = (
    st.none()
    | st.just(InvalidTlsPolicy("no"))
    | st.builds(
        TlsPolicy,
        level=st.sampled_from([*Level, *(4 * [Level.SECURE])]),
        match=st.lists(_MATCHES, max_size=2).map(tuple),
        servername=_MATCHES,
        patterns=st.lists(_NAMES, max_size=2).map(tuple),
    )
)
_MAIN_CFS = st.builds(
    MainCf,
    version=st.sampled_from([(), (3, 7, 11), (3, 10, 13)]),
    myhostname=_NAMES,
    smtp_tls_security_level=st.sampled_from(["", "may", "dane", "nonsense"]),
    smtp_dns_support_level=st.sampled_from(["", "dnssec"]),
    smtp_tls_secure_cert_match=st.sampled_from(["nexthop, dot-nexthop", "", ":", "hostname"]),
    smtp_tls_insecure_mx_policy=st.sampled_from(["dane", "encrypt", "may", "{x}"]),
    smtp_mx_address_limit=st.integers(-1, 6),
    smtp_address_preference=st.sampled_from(["any", "ipv4", "ipv6", "nonsense"]),
    smtp_balance_inet_protocols=st.booleans(),
    inet_protocols=st.sampled_from(["all", "ipv4", "ipv6", ""]),
    relayhost=st.sampled_from(["", "x.test"]),
    own_addresses=st.lists(_ADDRESSES, max_size=1).map(tuple),
)
_NEXT_HOPS = st.builds(NextHop, text=_NAMES, host=_NAMES, port=st.sampled_from([25, 587]))
_PUBLISHED = parse_policy(b"version: STSv1\nmode: enforce\nmx: *.x.test\nmax_age: 9\n")


@given(st.data(), _NEXT_HOPS, _MAIL_HOSTS, _POLICIES, _MAIN_CFS)
def test_all_values(
    data: st.DataObject,
    next_hop: NextHop,
    hosts: MailHosts,
    policy: TlsPolicy | InvalidTlsPolicy | None,
    main_cf: MainCf,
) -> None:
    """There is a prediction for any values, and what it says fits together."""
    wanted = targets(next_hop, hosts, policy, main_cf)
    assert len(set(wanted)) == len(wanted) <= MAX_TARGETS
    probes = [replace(data.draw(_RESULTS), target=each) for each in wanted]
    delivery = predict(next_hop, hosts, policy, probes, main_cf, _PUBLISHED)
    assert (delivery.outcome is Outcome.SENT) is (delivery.dsn == "2.0.0")
    assert (delivery.outcome is Outcome.BOUNCED) is (delivery.dsn[0] == "5")
    assert normalise(delivery.text) == delivery.text
    takers = [each for each in delivery.hosts if each.is_tried and each.accepts]
    assert bool(takers) is (delivery.outcome is Outcome.SENT)
    assert all(each.conforms or each.breach or each.conforms is None for each in delivery.hosts)
    if takers and takers[0].level in {Level.SECURE, Level.VERIFY}:
        place = (takers[0].host, takers[0].address)
        (session,) = [p.tls for p in probes if (p.target.host, p.target.address) == place]
        taker = next(each for each in hosts.hosts if each.name == takers[0].host)
        names = demand(taker, next_hop, hosts, policy, main_cf).names
        _check_verified(session, names)
    _check_order(data, next_hop, hosts, policy, main_cf)


def _check_verified(session: TlsSession | None, names: Sequence[str]) -> None:
    """A message is never sent at these levels without a valid certificate of the right name."""
    assert session
    assert session.error is None
    assert identity(names, session.chain[0]) is not Identity.DIFFERS


def _check_order(
    data: st.DataObject,
    next_hop: NextHop,
    hosts: MailHosts,
    policy: TlsPolicy | InvalidTlsPolicy | None,
    main_cf: MainCf,
) -> None:
    """A certain prediction does not depend on the order of the DNS's answer."""
    shuffled = replace(hosts, hosts=tuple(data.draw(st.permutations(hosts.hosts))))
    probes = [
        replace(data.draw(_RESULTS), target=t) for t in targets(next_hop, hosts, policy, main_cf)
    ]
    one = predict(next_hop, hosts, policy, probes, main_cf)
    other = predict(next_hop, shuffled, policy, probes, main_cf)
    if one.is_certain and other.is_certain:
        assert (one.outcome, one.dsn, one.text) == (other.outcome, other.dsn, other.text)
