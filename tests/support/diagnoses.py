"""Cases that a diagnosis must tell apart, as evidence by their names."""

from collections.abc import Callable, Mapping
from typing import Final

from postfix_mta_sts.admin.diagnosis.evidence import Evidence
from postfix_mta_sts.mtasts.dane import DaneOutcome, Host, HostState, MxState
from postfix_mta_sts.mtasts.errors import (
    CertificateError,
    DnsFailureError,
    InvalidPolicyError,
    InvalidRecordError,
)
from postfix_mta_sts.mtasts.exceptions import PolicyException, Scope, Use
from postfix_mta_sts.mtasts.mistakes import Mistake, Place
from postfix_mta_sts.mtasts.policy import MxPattern
from postfix_mta_sts.network.mail_hosts_values import DnsProblem, HostDane, MailHosts, MxHost
from postfix_mta_sts.network.policy_families import FamilyResult
from postfix_mta_sts.network.smtp.values import (
    Certificate,
    FailureKind,
    Phase,
    ProbeResult,
    ProbeTarget,
    SmtpStep,
    TlsSession,
    VerifyError,
)
from postfix_mta_sts.postfix.policy_maps import Table
from postfix_mta_sts.postfix.queue import Waiting
from postfix_mta_sts.postfix.smtp_client.values import NextHop
from postfix_mta_sts.values import replace
from tests.support.evidence import (
    ALONE,
    CACHED,
    DAY,
    ENFORCE,
    FOREIGN,
    GONE,
    NO_POSTFIX,
    NO_RECORD,
    NONE,
    NOW,
    README,
    STOPPED,
    TESTING,
    evidence,
)
from tests.support.smtp_client import (
    EXPIRED,
    NAME,
    NEW,
    OLD,
    RECORD,
    at,
    dane,
    failed,
    host,
    matched,
    numbered,
    session,
    talked,
)

Make = Callable[[], Evidence]
SECURE: Final = f"OK secure match={NAME} servername=hostname"
REPORTS: Final = f"{SECURE} policy_type=sts policy_domain=x.test mx_host_pattern={NAME}"
TWO: Final = numbered("127.0.1.1", "127.0.1.2")
SIGNED: Final = DaneOutcome(
    MxState.SECURE,
    "MX of x.test: signed",
    (Host(NAME, HostState.USABLE, f"TLSA of _25._tcp.{NAME}: 1 found, signed, 1 usable"),),
    3600,
)
WAITING: Final = Waiting(
    7, round(NOW) - 5 * 3600, ("Server certificate not verified", "Connection timed out")
)
DANE_CF: Final = replace(NEW, smtp_tls_security_level="dane", smtp_dns_support_level="dnssec")
TABLE: Final = replace(
    README,
    tables=(
        Table("texthash:/etc/postfix/tls", is_ours=False, found="may", key="x.test"),
        Table("socketmap:inet:127.0.0.1:8461:postfix", is_ours=True),
    ),
)
SILENT: Final = failed(Phase.CONNECT, FailureKind.TIMEOUT, reason="timed out")
BLOCKED: Final = "554 5.7.1 your address is on a block list"
BEGUN: Final = (
    SmtpStep(Phase.CONNECT, 0.021, "connected"),
    SmtpStep(Phase.GREETING, 0.034, "220 mx.x.test ESMTP Postfix"),
    SmtpStep(Phase.EHLO, 0.012, "250-mx.x.test 250-STARTTLS 250 SMTPUTF8"),
)


EXCEPTION: Final = PolicyException(
    Scope("x.test"),
    Use.IGNORE,
    "ticket 4711: their certificate expired",
    NOW + 3 * DAY,
    added_at=NOW - DAY,
    uid=0,
)
EXCEPTED: Final = replace(CACHED, failure=None, exception=EXCEPTION)
PIN: Final = replace(EXCEPTION, use=Use.PIN, mx=(MxPattern(NAME),), scope=Scope("*.test"))


def whole(names: tuple[str, ...] = (NAME,), error: VerifyError | None = None) -> ProbeResult:
    """A conversation with all of its steps, and a certificate with dates."""
    leaf = Certificate(
        f"CN={NAME}",
        "Example CA R3",
        None,
        names,
        round(NOW) - 93 * DAY,
        round(NOW) - 3 * DAY,
        "00",
    )
    if error is None:
        leaf = replace(leaf, not_after=round(NOW) + 87 * DAY)
    steps = (*BEGUN, SmtpStep(Phase.HANDSHAKE, 0.05, "TLSv1.3 TLS_AES_256_GCM_SHA384"))
    return ProbeResult(
        ProbeTarget(NAME, "192.0.2.25"),
        steps,
        greeted_as="mx.x.test",
        offers_starttls=True,
        tls=TlsSession("TLSv1.3", "TLS_AES_256_GCM_SHA384", (leaf,), error),
    )


PLACED: Final = MailHosts((MxHost(NAME, 10, ("192.0.2.25",)),))


def by_dane(probe: ProbeResult, found: HostDane) -> Evidence:
    """Mail by DANE for a domain without a policy, whose MX host has this."""
    hosts = MailHosts((replace(host(), dane=found),), mx_is_secure=True)
    return evidence(
        probe, hosts=hosts, outcome=SIGNED, error=NO_RECORD, main_cf=DANE_CF, reply="NOTFOUND "
    )


def mistyped() -> Evidence:
    """A policy that is not valid, with what to write."""
    found = evidence(error=InvalidPolicyError(3, "field nmx is unknown, and mx is missing"))
    body = b"version: STSv1\nmode: enforce\nnmx: mx.x.test\nmax_age: 604800\n"
    found.network.body = body
    found.mistakes = (Mistake("misspelt-mx", Place.POLICY, "nmx: mx.x.test", "mx: mx.x.test"),)
    return found


def only_reports() -> Evidence:
    """A domain that is well, but for its TLSRPT record."""
    found = evidence(whole(), hosts=PLACED)
    text = "v=TLSRPv1; rua=mailto:tls@x.test"
    wrong = Mistake("tlsrpt-version", Place.TLSRPT, text, "v=TLSRPTv1; rua=mailto:tls@x.test")
    found.mistakes = (wrong,)
    return found


def elsewhere() -> Evidence:
    """Names that lead elsewhere, and a Policy Host that has its policy over IPv4 alone."""
    hosts = MailHosts(
        (MxHost(NAME, 10, ("192.0.2.25",), aliases=("mx7.provider.test",)),),
        aliases=("mail.x.test",),
    )
    found = evidence(whole(), hosts=hosts)
    found.network.families = (
        FamilyResult("IPv6", "2001:db8::80", "unreachable", "Connection refused"),
        FamilyResult("IPv4", "192.0.2.80", status=200, size=67, sha256="5f" * 32),
    )
    return found


def interrupted() -> Evidence:
    """Ctrl-C while the Policy Host is silent."""
    found = Evidence.of(NextHop("x.test", "x.test"), NOW)
    found.pending, found.is_interrupted = ["the MX hosts", "the policy"], True
    return found


CASES: Final[Mapping[str, Make]] = {
    "verified": lambda: evidence(whole(), hosts=PLACED),
    "not-probed": evidence,
    "cached": lambda: evidence(error=GONE, cached=ENFORCE, daemon=CACHED, reply=SECURE),
    "expired": lambda: evidence(
        whole(error=EXPIRED), hosts=PLACED, reply=REPORTS, daemon=CACHED, waiting=WAITING
    ),
    "wrong-name": lambda: evidence(whole(("www.x.test", "x.test")), hosts=PLACED),
    "no-starttls": lambda: evidence(talked()),
    "two-hosts": lambda: evidence(
        at(1, talked(session("mx1.x.test", error=VerifyError(18, 0, "self-signed certificate")))),
        at(2, failed(Phase.CONNECT, FailureKind.REFUSED, reason="refused")),
        hosts=TWO,
        policy=replace(ENFORCE, mx=("*.x.test",)),
    ),
    "foreign-mx": lambda: evidence(policy=FOREIGN),
    "no-policy": lambda: evidence(error=NO_RECORD),
    "mode-none": lambda: evidence(policy=NONE),
    "testing": lambda: evidence(policy=TESTING),
    "testing-breach": lambda: evidence(whole(("www.x.test",)), hosts=PLACED, policy=TESTING),
    "gone": lambda: evidence(error=GONE),
    "policy-host-certificate": lambda: evidence(error=CertificateError("certificate has expired")),
    "invalid-record": lambda: evidence(error=InvalidRecordError("id is not 1 to 32 letters")),
    "mistyped": mistyped,
    "only-reports": only_reports,
    "dns-silent": lambda: evidence(error=DnsFailureError("SERVFAIL from the name server")),
    "try-again": lambda: evidence(error=DnsFailureError("SERVFAIL"), defers=True),
    "no-such-domain": lambda: evidence(
        error=NO_RECORD, hosts=MailHosts((), problem=DnsProblem.NO_SUCH_NAME, reason="NXDOMAIN")
    ),
    "null-mx": lambda: evidence(
        error=NO_RECORD, hosts=MailHosts((), problem=DnsProblem.NULL_MX, reason="null MX")
    ),
    "daemon-stopped": lambda: evidence(daemon=STOPPED),
    "no-postfix": lambda: evidence(daemon=STOPPED, postfix=NO_POSTFIX),
    "map-not-used": lambda: evidence(postfix=replace(README, map_name=None)),
    "exception": lambda: evidence(
        whole(error=EXPIRED), hosts=PLACED, reply="NOTFOUND ", cached=ENFORCE, daemon=EXCEPTED
    ),
    "exception-pin": lambda: evidence(
        whole(),
        hosts=PLACED,
        reply=SECURE,
        policy=FOREIGN,
        daemon=replace(EXCEPTED, exception=PIN),
    ),
    "another-table": lambda: evidence(postfix=TABLE),
    "reports-on-3.7": lambda: evidence(
        postfix=replace(README, version="3.7.11"), main_cf=OLD, reply=REPORTS
    ),
    "no-ca": lambda: evidence(
        whole(error=VerifyError(20, 0, "unable to get local issuer certificate")),
        hosts=PLACED,
        postfix=replace(README, ca="none"),
    ),
    "dane": lambda: evidence(outcome=SIGNED, error=NO_RECORD, main_cf=DANE_CF),
    "dane-verified": lambda: by_dane(
        talked(session(tlsa=matched(fits=True))), dane(HostState.USABLE, RECORD)
    ),
    "dane-mismatch": lambda: by_dane(
        talked(session(tlsa=matched(fits=False))), dane(HostState.USABLE, RECORD)
    ),
    "dane-unusable": lambda: by_dane(talked(session()), dane(HostState.UNUSABLE, RECORD)),
    "dane-absent": lambda: by_dane(talked(session()), dane(HostState.ABSENT)),
    "port-25-closed": lambda: evidence(
        SILENT, waiting=Waiting(1, round(NOW) - 60, ("Connection timed out",), 9)
    ),
    "silent-host": lambda: evidence(SILENT, waiting=Waiting(1, round(NOW) - 60)),
    "refused-to-talk": lambda: evidence(failed(Phase.GREETING, reply=BLOCKED, reason=BLOCKED)),
    "in-brackets": lambda: evidence(
        next_hop=NextHop("[mx.x.test]:587", NAME, 587, has_mx=False), hosts=ALONE
    ),
    "elsewhere": elsewhere,
    "interrupted": interrupted,
}
