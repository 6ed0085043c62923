"""What smtp(8) demands of one MX host."""

import pytest

from postfix_mta_sts.mtasts.dane import HostState
from postfix_mta_sts.network.mail_hosts_values import HostDane, MailHosts
from postfix_mta_sts.network.smtp.values import TlsaRecord
from postfix_mta_sts.postfix.smtp_client.authentication import Demand, demand, nominal_level
from postfix_mta_sts.postfix.smtp_client.values import (
    InvalidTlsPolicy,
    Level,
    MainCf,
    NextHop,
    TlsPolicy,
)
from postfix_mta_sts.postfix.smtp_client.words import Words
from postfix_mta_sts.values import replace
from tests.support.smtp_client import NEXT_HOP, RECORD, dane, host

DANE = TlsPolicy(Level.DANE)
DANE_ONLY = TlsPolicy(Level.DANE_ONLY)
SIGNED = MainCf(smtp_dns_support_level="dnssec", smtp_tls_security_level="dane")
CONFIGURATION = Words("4.7.5", "client TLS configuration problem")
ONE = MailHosts((host(),), mx_is_secure=True)


def wanted(
    policy: TlsPolicy | InvalidTlsPolicy | None = None,
    main_cf: MainCf = SIGNED,
    *,
    of: HostDane | None = None,
    found: MailHosts = ONE,
    next_hop: NextHop = NEXT_HOP,
) -> Demand:
    """Return what is demanded of `mx.x.test`."""
    return demand(replace(host(), dane=of), next_hop, found, policy, main_cf)


@pytest.mark.parametrize(
    ("value", "level"),
    [("", Level.NONE), ("may", Level.MAY), ("Encrypt", Level.ENCRYPT), ("secure", Level.SECURE)],
)
def test_level_of_main_cf(value: str, level: Level) -> None:
    """Without a policy the level of main.cf counts; with one it does not."""
    main_cf = MainCf(smtp_tls_security_level=value)
    assert wanted(None, main_cf).level is level
    assert wanted(TlsPolicy(Level.MAY), main_cf).level is Level.MAY
    assert nominal_level(None, main_cf) is level


def test_no_such_level() -> None:
    """With a wrong level in main.cf, smtp(8) does not start."""
    found = wanted(None, MainCf(smtp_tls_security_level="always"))
    assert found.refusal == Words("4.3.0", "unknown mail transport error")


def test_invalid_policy() -> None:
    """smtp(8) connects nowhere with a policy that it does not understand."""
    assert wanted(InvalidTlsPolicy("no answer")).refusal == CONFIGURATION


@pytest.mark.parametrize(
    ("policy", "names"),
    [
        (TlsPolicy(Level.SECURE), ("x.test", ".x.test")),
        (TlsPolicy(Level.VERIFY), ("mx.x.test",)),
        (TlsPolicy(Level.SECURE, ("a.test", ".b.test")), ("a.test", ".b.test")),
        (
            TlsPolicy(Level.SECURE, ("NextHop", "dot-nexthop", "hostname")),
            ("x.test", ".x.test", "mx.x.test"),
        ),
        (TlsPolicy(Level.SECURE, (".",)), ()),
        (TlsPolicy(Level.ENCRYPT), ()),
    ],
)
def test_names(policy: TlsPolicy, names: tuple[str, ...]) -> None:
    """The names of a certificate are those of the policy, or of main.cf."""
    assert wanted(policy).names == names


@pytest.mark.parametrize(
    ("servername", "main_cf", "sni"),
    [
        ("", MainCf(), None),
        ("hostname", MainCf(), "mx.x.test"),
        ("nexthop", MainCf(), "x.test"),
        ("other.test", MainCf(), "other.test"),
        ("", MainCf(smtp_tls_servername="hostname"), "mx.x.test"),
        ("nexthop", MainCf(smtp_tls_servername="hostname"), "x.test"),
    ],
)
def test_sni(servername: str, main_cf: MainCf, sni: str | None) -> None:
    """Postfix sends a name in the handshake only if it is told to."""
    assert wanted(TlsPolicy(Level.SECURE, servername=servername), main_cf).sni == sni
    assert wanted(TlsPolicy(Level.NONE, servername=servername), main_cf).sni is None


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [("mx.x.test", True), ("MX.x.test", True), ("*.x.test", True), ("*.test", False), ("*", False)],
)
def test_patterns(pattern: str, *, fits: bool) -> None:
    """A star is exactly the left-most label."""
    policy = TlsPolicy(Level.SECURE, ("hostname",), patterns=("other.test", pattern))
    assert wanted(policy).is_skipped is not fits


SHORT = TlsaRecord(3, 1, 1, "ab")
PKIX = TlsaRecord(1, 1, 1, "ab" * 32)
FAILED, ABSENT, INSECURE = HostState.FAILED, HostState.ABSENT, HostState.INSECURE


@pytest.mark.parametrize(
    ("of", "level", "refusal"),
    [
        (dane(HostState.USABLE, RECORD), Level.DANE, None),
        (dane(HostState.UNUSABLE, PKIX), Level.ENCRYPT, "TLSA records unusable"),
        (dane(HostState.UNUSABLE, SHORT), Level.ENCRYPT, None),
        (dane(HostState.UNUSABLE), Level.ENCRYPT, "TLSA records unusable"),
        (dane(ABSENT), Level.MAY, "no TLSA records found"),
        (dane(INSECURE), Level.MAY, "no TLSA records found"),
        (None, Level.MAY, "no TLSA records found"),
    ],
)
def test_dane(of: HostDane | None, level: Level, refusal: str | None) -> None:
    """Level dane is lowered where DANE does not apply, level dane-only fails there."""
    found = wanted(DANE, of=of)
    assert (found.level, found.refusal, found.is_known) == (level, None, of is not None)
    only = wanted(DANE_ONLY, of=of)
    assert only.refusal == (Words("4.7.5", refusal) if refusal else None)
    assert only.level is Level.DANE_ONLY


@pytest.mark.parametrize("policy", [DANE, DANE_ONLY])
def test_dane_failure(policy: TlsPolicy) -> None:
    """A host whose TLSA look-up fails gets no mail."""
    assert wanted(policy, of=dane(FAILED)).refusal == Words("4.7.5", "TLSA lookup error")


def test_dane_names() -> None:
    """The TLSA base domain is the name in the handshake; the next-hop counts, too."""
    usable = dane(HostState.USABLE, RECORD, base="host.y.test")
    found = replace(ONE, aliases=("a.test", "b.test"))
    got = wanted(replace(DANE, servername="nexthop"), of=usable, found=found)
    assert (got.sni, got.tlsa) == ("host.y.test", (RECORD,))
    assert got.tlsa_names == ("host.y.test", "b.test", "x.test")
    own = wanted(DANE, of=usable, found=replace(ONE, implicit=True))
    assert own.tlsa_names == ("host.y.test",)


@pytest.mark.parametrize("level", ["", "enabled"])
def test_dane_without_dnssec(level: str) -> None:
    """Without DNSSEC, level dane is may, and dane-only a configuration problem."""
    main_cf = replace(SIGNED, smtp_dns_support_level=level)
    usable = dane(HostState.USABLE, RECORD)
    assert wanted(DANE, main_cf, of=usable).level is Level.MAY
    assert wanted(DANE_ONLY, main_cf, of=usable).refusal == CONFIGURATION


_EXPRESSION = "${{$smtp_tls_security_level} == {dane} ? {dane} : {may}}"


@pytest.mark.parametrize(
    ("insecure", "main_level", "level", "is_half"),
    [
        ("dane", "may", Level.DANE, True),
        ("encrypt", "may", Level.ENCRYPT, False),
        ("may", "dane", Level.MAY, False),
        # The default before 3.7.13.
        (_EXPRESSION, "dane", Level.DANE, True),
        (_EXPRESSION, "may", Level.MAY, False),
    ],
)
def test_dane_of_an_unsigned_domain(
    insecure: str, main_level: str, level: Level, *, is_half: bool
) -> None:
    """smtp_tls_dane_insecure_mx_policy decides for signed hosts of an unsigned domain."""
    unsigned = replace(ONE, mx_is_secure=False)
    main_cf = replace(
        SIGNED, smtp_tls_insecure_mx_policy=insecure, smtp_tls_security_level=main_level
    )
    usable = dane(HostState.USABLE, RECORD)
    got = wanted(DANE, main_cf, of=usable, found=unsigned)
    assert (got.level, got.is_half_dane) == (level, is_half)
    only = wanted(DANE_ONLY, main_cf, of=usable, found=unsigned)
    assert only.refusal == Words("4.7.5", "non DNSSEC destination")
    own = replace(unsigned, implicit=True)
    assert wanted(DANE_ONLY, main_cf, of=usable, found=own).refusal is None
