"""How the first delivery attempt ends, by what the probes found."""

from collections.abc import Sequence

import pytest

from postfix_mta_sts.mtasts.dane import HostState
from postfix_mta_sts.mtasts.policy import parse_policy
from postfix_mta_sts.network.mail_hosts_values import DnsProblem, MailHosts, MxHost
from postfix_mta_sts.network.smtp.values import FailureKind, Phase, ProbeResult, ProbeTarget
from postfix_mta_sts.postfix.smtp_client.delivery import predict, targets, targets_of_mail
from postfix_mta_sts.postfix.smtp_client.tls_policy import parse_tls_policy
from postfix_mta_sts.postfix.smtp_client.values import (
    Delivery,
    InvalidTlsPolicy,
    Level,
    MainCf,
    NextHop,
    Outcome,
    TlsPolicy,
)
from postfix_mta_sts.values import replace
from tests.support.smtp_client import (
    EXPIRED,
    NEW,
    NEXT_HOP,
    OLD,
    RECORD,
    VERSIONS,
    at,
    dane,
    failed,
    host,
    matched,
    numbered,
    session,
    talked,
)

SENT, DEFERRED, BOUNCED = Outcome.SENT, Outcome.DEFERRED, Outcome.BOUNCED
SECURE = TlsPolicy(Level.SECURE, (".x.test",), servername="hostname")
PUBLISHED = parse_policy(b"version: STSv1\nmode: enforce\nmx: *.x.test\nmax_age: 9\n")

# Conversations with the hosts of `numbered`.
GOOD = talked(session("*.x.test"))
WRONG = talked(session("a.test"))
BAD = talked(session("*.x.test", error=EXPIRED))
PLAIN = talked()
REFUSED = failed(Phase.CONNECT, FailureKind.REFUSED)
BUSY = failed(Phase.GREETING, reply="421 4.3.2 busy")
HARD = failed(Phase.STARTTLS, reply="554 5.7.3 never")
RESET = failed(Phase.HANDSHAKE, FailureKind.CLOSED)

NOT_VERIFIED = (DEFERRED, "4.7.5", "Server certificate not verified")
NOT_OFFERED = (DEFERRED, "4.7.4", "TLS is required, but was not offered by host")
NOT_CONNECTED = (DEFERRED, "4.4.1", "connect to: Connection refused")
UNAVAILABLE = (DEFERRED, "4.3.0", "server unavailable or unable to receive mail")
TAKEN = (SENT, "2.0.0", "")


def hosts_for(found: Sequence[ProbeResult | None]) -> MailHosts:
    """Return the MX hosts of these conversations."""
    return numbered(*(f"127.0.1.{number}" for number in range(1, len(found) + 1)))


def delivered(
    found: Sequence[ProbeResult | None],
    policy: TlsPolicy | InvalidTlsPolicy | None = SECURE,
    main_cf: MainCf = NEW,
    hosts: MailHosts | None = None,
) -> Delivery:
    """Predict the delivery to hosts with these conversations; None: not probed."""
    probes = [at(number, each) for number, each in enumerate(found, 1) if each]
    return predict(NEXT_HOP, hosts or hosts_for(found), policy, probes, main_cf, PUBLISHED)


def end(delivery: Delivery) -> tuple[Outcome, str, str]:
    """Return how it ends."""
    return delivery.outcome, delivery.dsn, delivery.text


@pytest.mark.parametrize(
    ("found", "expected", "host"),
    [
        ([GOOD], TAKEN, "mx1.x.test"),
        ([WRONG], NOT_VERIFIED, "mx1.x.test"),
        ([BAD, GOOD], TAKEN, "mx2.x.test"),
        ([PLAIN, WRONG, REFUSED, GOOD], TAKEN, "mx4.x.test"),
        # The last words count.
        ([PLAIN, BAD], NOT_VERIFIED, "mx2.x.test"),
        ([BAD, PLAIN], NOT_OFFERED, "mx2.x.test"),
        ([WRONG, REFUSED], NOT_CONNECTED, "mx2.x.test"),
        ([REFUSED, WRONG], NOT_VERIFIED, "mx2.x.test"),
        (
            [WRONG, BUSY],
            (DEFERRED, "4.3.2", "host refused to talk to me: 421 4.3.2 busy"),
            "mx2.x.test",
        ),
        # A hard error ends it, whatever follows.
        (
            [WRONG, HARD, GOOD],
            (BOUNCED, "5.7.3", "TLS is required, but host refused to start TLS: 554 5.7.3 never"),
            "mx2.x.test",
        ),
        # smtp_mx_address_limit
        ([WRONG, BAD, PLAIN, REFUSED, BAD, GOOD], NOT_VERIFIED, "mx5.x.test"),
    ],
)  # fmt: skip
def test_several_hosts(
    found: list[ProbeResult], expected: tuple[Outcome, str, str], host: str
) -> None:
    """Both versions go from host to host until one takes the message, or refuses it for good."""
    for main_cf in VERSIONS:
        delivery = delivered(found, main_cf=main_cf)
        assert end(delivery) == expected
        assert (delivery.host, delivery.is_certain, delivery.plain_later) == (host, True, False)
        assert delivery.tls == ("Verified" if delivery.outcome is SENT else None)
        tried = [each.host for each in delivery.hosts if each.is_tried]
        assert tried[-1] == host
        assert len(delivery.hosts) == len(found)


def test_hosts_that_are_not_tried() -> None:
    """Hosts after the one that takes the message are judged all the same."""
    delivery = delivered([GOOD, BAD])
    first, second = delivery.hosts
    assert (first.is_tried, first.accepts, first.conforms, first.tls) == (
        True,
        True,
        True,
        "Verified",
    )
    assert (second.is_tried, second.accepts, second.conforms) == (False, False, False)
    assert second.text == "Server certificate not verified"
    assert (
        second.breach
        == "its certificate is not valid: certificate has expired (RFC 8461, section 4.2)"
    )


REPLY = "secure match=mx2.x.test servername=hostname"
TLSRPT = f"{REPLY} policy_type=sts policy_domain=x.test mx_host_pattern=mx2.x.test"


@pytest.mark.parametrize(
    ("found", "text", "old", "new"),
    [
        ([GOOD, GOOD], REPLY, TAKEN, TAKEN),
        ([GOOD, GOOD], TLSRPT, None, TAKEN),
        ([GOOD, BAD], TLSRPT, None, NOT_VERIFIED),
        ([GOOD], REPLY, NOT_VERIFIED, NOT_VERIFIED),
        ([GOOD], TLSRPT, None, UNAVAILABLE),
        ([talked(session("mx2.x.test")), GOOD], REPLY, TAKEN, TAKEN),
    ],
)
def test_versions(
    found: list[ProbeResult],
    text: str,
    old: tuple[Outcome, str, str] | None,
    new: tuple[Outcome, str, str],
) -> None:
    """With TLSRPT attributes Postfix 3.10 skips hosts that fit no pattern, and 3.7 defers."""
    misread = (DEFERRED, "4.7.5", "client TLS configuration problem")
    found = [
        replace(each, tls=replace(each.tls, chain=each.tls.chain)) for each in found if each.tls
    ]
    named = [_with_own_name(number, each) for number, each in enumerate(found, 1)]
    for main_cf, expected in ((OLD, old or misread), (NEW, new)):
        delivery = delivered(named, parse_tls_policy(text, main_cf), main_cf)
        assert end(delivery) == expected


def _with_own_name(number: int, found: ProbeResult) -> ProbeResult:
    """A wildcard certificate becomes one for the host's own name."""
    assert found.tls
    leaf = found.tls.chain[0]
    names = (f"mx{number}.x.test",) if leaf.dns_names == ("*.x.test",) else leaf.dns_names
    return replace(found, tls=replace(found.tls, chain=(replace(leaf, dns_names=names),)))


def test_skipped_hosts() -> None:
    """A host that is skipped is no host that was tried last, and says nothing."""
    policy = parse_tls_policy(TLSRPT, NEW)
    delivery = delivered([GOOD], policy)
    assert delivery.host is None
    (only,) = delivery.hosts
    assert (only.skipped, only.is_tried, only.accepts, only.text) == (True, True, False, "")
    assert (only.conforms, only.tls) == (True, None)
    missing = MxHost("mx0.x.test", 0, problem=DnsProblem.NO_SUCH_NAME)
    hosts = MailHosts((missing, *hosts_for([GOOD]).hosts))
    # Words of a look-up remain if no connection follows.
    assert delivered([GOOD], policy, hosts=hosts).outcome is BOUNCED
    assert delivered([WRONG], SECURE, hosts=hosts).outcome is DEFERRED


@pytest.mark.parametrize(
    ("found", "expected", "tls", "plain_later"),
    [
        ([WRONG], TAKEN, "Trusted", False),
        ([BAD], TAKEN, "Untrusted", False),
        ([PLAIN], TAKEN, None, False),
        ([failed(Phase.STARTTLS, reply="454 4.7.0 no")], TAKEN, None, False),
        ([RESET], (DEFERRED, "4.7.5", "Cannot start TLS: handshake failure"), None, True),
        ([RESET, REFUSED], NOT_CONNECTED, None, True),
        ([RESET, PLAIN], TAKEN, None, False),
    ],
)
def test_level_may(
    found: list[ProbeResult],
    expected: tuple[Outcome, str, str],
    tls: str | None,
    *,
    plain_later: bool,
) -> None:
    """Without a policy nearly all is sent; a failed handshake delays a new message."""
    for main_cf in VERSIONS:
        delivery = delivered(found, None, main_cf)
        assert end(delivery) == expected
        assert (delivery.tls, delivery.plain_later) == (tls, plain_later)
        assert delivery.level is Level.MAY


def test_dane() -> None:
    """Each host has the level that its TLSA records give it."""
    main_cf = replace(NEW, smtp_tls_security_level="dane", smtp_dns_support_level="dnssec")
    states = (dane(HostState.USABLE, RECORD), dane(HostState.ABSENT), dane(HostState.FAILED))
    bare = hosts_for([None, None, None])
    hosts = tuple(replace(h, dane=d) for h, d in zip(bare.hosts, states, strict=True))
    found = replace(bare, hosts=hosts, mx_is_secure=True)
    bad = talked(session("a.test", tlsa=matched(fits=False)))
    delivery = delivered([bad, WRONG, None], None, main_cf, found)
    assert end(delivery) == TAKEN
    assert [each.level for each in delivery.hosts] == [Level.DANE, Level.MAY, Level.DANE]
    only = TlsPolicy(Level.DANE_ONLY)
    strict = delivered([bad, WRONG, None], only, main_cf, found)
    assert end(strict) == (DEFERRED, "4.7.5", "TLSA lookup error")
    assert [each.text for each in strict.hosts] == [
        "Server certificate not verified",
        "no TLSA records found",
        "TLSA lookup error",
    ]
    assert strict.is_certain


def test_no_hosts() -> None:
    """What the DNS says ends it, even with a policy that Postfix does not understand."""
    nothing = MailHosts((), problem=DnsProblem.NULL_MX)
    for policy in (SECURE, InvalidTlsPolicy("no"), None):
        delivery = delivered([], policy, hosts=nothing)
        text = "Domain does not accept mail (nullMX)"
        assert end(delivery) == (BOUNCED, "5.1.0", text)
        assert (delivery.host, delivery.hosts) == (None, ())


def test_relayhost() -> None:
    """Postfix does not bounce mail because its relayhost cannot be found."""
    nothing = MailHosts((), implicit=True, problem=DnsProblem.NO_SUCH_NAME)
    next_hop = NextHop("[r.test]", "r.test", has_mx=False)
    for relayhost, dsn in (("[r.test]", "4.3.5"), ("r.test", "5.4.4")):
        main_cf = replace(NEW, relayhost=relayhost)
        assert predict(next_hop, nothing, None, (), main_cf).dsn == dsn


@pytest.mark.parametrize(
    ("found", "is_certain"),
    [
        ([GOOD, GOOD], True),
        ([GOOD, BAD], True),
        ([BAD, BAD], True),
        ([BAD, PLAIN], False),
        ([GOOD, HARD], False),
    ],
)
def test_equal_preferences(found: list[ProbeResult], *, is_certain: bool) -> None:
    """Where the end depends on which of two hosts comes first, the prediction is not certain."""
    hosts = tuple(replace(each, preference=10) for each in hosts_for(found).hosts)
    assert delivered(found, hosts=MailHosts(hosts)).is_certain is is_certain


def test_equal_preferences_without_addresses() -> None:
    """Which look-up fails last is chance, too."""
    problems = (DnsProblem.NO_SUCH_NAME, DnsProblem.FAILURE)
    for preferences, is_certain in (((10, 10), False), ((10, 20), True)):
        hosts = tuple(
            MxHost(f"mx{p}.x.test", preference, problem=p)
            for p, preference in zip(problems, preferences, strict=True)
        )
        assert delivered([], hosts=MailHosts(hosts)).is_certain is is_certain


def test_more_equal_hosts_than_the_limit() -> None:
    """Which five of eight hosts are tried is chance."""
    found = [*(7 * [BAD]), GOOD]
    hosts = tuple(replace(each, preference=10) for each in hosts_for(found).hosts)
    assert not delivered(found, hosts=MailHosts(hosts)).is_certain
    assert delivered(8 * [BAD], hosts=MailHosts(hosts)).is_certain


@pytest.mark.parametrize(
    ("found", "is_certain"), [([None, GOOD], False), ([GOOD, None], True), ([None], False)]
)
def test_not_probed(found: list[ProbeResult | None], *, is_certain: bool) -> None:
    """A prediction is certain only if all hosts on the way were probed."""
    assert delivered(found).is_certain is is_certain


def test_invalid_level_is_not_certain() -> None:
    """A level that does not exist stops smtp(8)."""
    delivery = delivered([GOOD], None, MainCf(smtp_tls_security_level="always"))
    assert end(delivery) == (DEFERRED, "4.3.0", "unknown mail transport error")
    assert not delivery.is_certain


def test_targets() -> None:
    """Each address is to be talked to as smtp(8) would."""
    found = targets(replace(NEXT_HOP, port=587), numbered("127.0.1.1", "::1"), SECURE, NEW)
    assert found == (
        ProbeTarget("mx1.x.test", "127.0.1.1", 587, "mx1.x.test"),
        ProbeTarget("mx2.x.test", "::1", 587, "mx2.x.test"),
    )
    (plain,) = targets(NEXT_HOP, numbered("127.0.1.1"), None, MainCf())
    assert (plain.starttls, plain.is_verified, plain.sni) == (False, False, None)
    (unseen,) = targets(NEXT_HOP, numbered("127.0.1.1"), InvalidTlsPolicy("no"), MainCf())
    assert (unseen.starttls, unseen.is_verified, unseen.sni) == (True, True, "mx1.x.test")
    signed = MailHosts((replace(host(), dane=dane(HostState.USABLE, RECORD)),), mx_is_secure=True)
    main_cf = replace(NEW, smtp_dns_support_level="dnssec")
    (by_dane,) = targets(NEXT_HOP, signed, TlsPolicy(Level.DANE), main_cf)
    assert (by_dane.sni, by_dane.tlsa) == ("mx.x.test", (RECORD,))
    assert by_dane.tlsa_names == ("mx.x.test", "x.test")


def test_targets_are_few() -> None:
    """First what smtp(8) tries, then one address of each other host, at most 20 in all."""
    many = tuple(
        host(f"mx{n}.x.test", *(f"127.0.{n}.{i}" for i in range(1, 5)), preference=n)
        for n in range(1, 31)
    )
    found = targets(NEXT_HOP, MailHosts(many), SECURE, NEW)
    assert len(found) == 20
    assert [each.address for each in found[:5]] == [
        *(f"127.0.1.{i}" for i in range(1, 5)),
        "127.0.2.1",
    ]
    assert [each.host for each in found[5:]] == [f"mx{n}.x.test" for n in range(3, 18)]
    one = MailHosts((host("mx.x.test", *(f"127.0.0.{i}" for i in range(1, 9))),))
    assert len(targets(NEXT_HOP, one, SECURE, NEW)) == 8


def test_targets_of_mail() -> None:
    """Only what smtp(8) may connect to: neither beyond its limit, nor hosts that it skips."""
    many = tuple(host(f"mx{n}.x.test", f"127.0.0.{n}", preference=n) for n in range(1, 9))
    found = targets_of_mail(NEXT_HOP, MailHosts(many), SECURE, NEW)
    assert [each.address for each in found] == [f"127.0.0.{n}" for n in range(1, 6)]
    assert found == targets(NEXT_HOP, MailHosts(many), SECURE, NEW)[:5]
    same = tuple(host(f"mx{n}.x.test", f"127.0.0.{n}", preference=1) for n in range(1, 9))
    assert len(targets_of_mail(NEXT_HOP, MailHosts(same), SECURE, NEW)) == 8


@pytest.mark.parametrize(("patterns", "connects"), [((), True), (("*.x.test",), False)])
def test_targets_of_mail_without_strangers(patterns: Sequence[str], *, connects: bool) -> None:
    """Postfix that is told the patterns, as 3.10.5 and later, skips hosts that fit none."""
    strangers = MailHosts((host("mx.elsewhere.test", "127.0.0.1"),))
    by_policy = replace(SECURE, patterns=tuple(patterns))
    assert bool(targets_of_mail(NEXT_HOP, strangers, by_policy, NEW)) is connects
    assert targets(NEXT_HOP, strangers, by_policy, NEW)
    assert targets_of_mail(NEXT_HOP, strangers, InvalidTlsPolicy("no"), NEW) == ()
