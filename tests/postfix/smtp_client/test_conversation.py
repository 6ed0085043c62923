"""What smtp(8) makes of each way in which a conversation can go."""

import pytest

from postfix_mta_sts.network.smtp.values import (
    FailureKind,
    Identity,
    Phase,
    ProbeResult,
    TlsSession,
)
from postfix_mta_sts.postfix.smtp_client.authentication import Demand
from postfix_mta_sts.postfix.smtp_client.conversation import Judgement, judge
from postfix_mta_sts.postfix.smtp_client.values import Level, MainCf
from postfix_mta_sts.postfix.smtp_client.words import Words
from postfix_mta_sts.values import replace
from tests.support.smtp_client import (
    EXPIRED,
    NAME,
    NEW,
    OLD,
    TARGET,
    VERSIONS,
    failed,
    matched,
    session,
    talked,
)

SECURE = Demand(Level.SECURE, names=(NAME,))
MAY = Demand(Level.MAY)
NONE = Demand(Level.NONE)
HANDSHAKE = Words("4.7.5", "Cannot start TLS: handshake failure")
NOT_VERIFIED = Words("4.7.5", "Server certificate not verified")
REFUSED, UNREACHABLE = FailureKind.REFUSED, FailureKind.UNREACHABLE
TIMEOUT, CLOSED, NO_SMTP = FailureKind.TIMEOUT, FailureKind.CLOSED, FailureKind.NO_SMTP


def judged(found: ProbeResult, wanted: Demand = SECURE, main_cf: MainCf = NEW) -> Judgement:
    """Return what smtp(8) does at the best MX host."""
    return judge(found, wanted, main_cf, is_best=True)


@pytest.mark.parametrize(
    ("found", "dsn", "text"),
    [
        (failed(Phase.CONNECT, REFUSED), "4.4.1", "connect to: Connection refused"),
        (failed(Phase.CONNECT, TIMEOUT), "4.4.1", "connect to: Connection timed out"),
        (failed(Phase.CONNECT, CLOSED), "4.4.1", "connect to: Connection reset by peer"),
        (failed(Phase.CONNECT, UNREACHABLE), "4.4.1", "connect to: Network is unreachable"),
        (
            failed(Phase.CONNECT, UNREACHABLE, reason="No route to host"),
            "4.4.1",
            "connect to: No route to host",
        ),
        (
            failed(Phase.GREETING, reply="421 4.3.2 too busy"),
            "4.3.2",
            "host refused to talk to me: 421 4.3.2 too busy",
        ),
        # smtp_skip_5xx_greeting
        (
            failed(Phase.GREETING, reply="554 5.7.1 go away"),
            "4.7.1",
            "host refused to talk to me: 554 5.7.1 go away",
        ),
        (failed(Phase.GREETING, reply="554 no"), "4.0.0", "host refused to talk to me: 554 no"),
        # A status that contradicts the code, and a code that is none.
        (
            failed(Phase.GREETING, reply="450 5.7.1 no"),
            "4.0.0",
            "host refused to talk to me: 450 5.7.1 no",
        ),
        (failed(Phase.GREETING, reply="354 go"), "5.5.0", "host refused to talk to me: 354 go"),
        (failed(Phase.EHLO, reply="250 ok"), "5.5.0", "host refused to talk to me: 250 ok"),
        (
            failed(Phase.GREETING, TIMEOUT),
            "4.4.2",
            "conversation with timed out while receiving the initial server greeting",
        ),
        (
            failed(Phase.GREETING, CLOSED),
            "4.4.2",
            "lost connection with while receiving the initial server greeting",
        ),
        (
            failed(Phase.GREETING, NO_SMTP),
            "4.4.2",
            "conversation with timed out while receiving the initial server greeting",
        ),
        # After HELO, a reply of 550 bounces.
        (
            failed(Phase.EHLO, reply="550 5.7.1 bad name"),
            "5.7.1",
            "host refused to talk to me: 550 5.7.1 bad name",
        ),
        (
            failed(Phase.EHLO, CLOSED),
            "4.4.2",
            "lost connection with while performing the EHLO handshake",
        ),
    ],
)
def test_before_tls(found: ProbeResult, dsn: str, text: str) -> None:
    """Before TLS, all levels and both versions of Postfix do the same."""
    for main_cf in VERSIONS:
        for wanted in (SECURE, MAY, NONE):
            assert judged(found, wanted, main_cf).words == Words(dsn, text)


@pytest.mark.parametrize(
    ("found", "words", "plain", "tries_plain"),
    [
        (
            talked(),
            Words("4.7.4", "TLS is required, but was not offered by host"),
            None,
            False,
        ),
        (
            failed(Phase.STARTTLS, reply="454 4.7.0 not now"),
            Words("4.7.0", "TLS is required, but host refused to start TLS: 454 4.7.0 not now"),
            None,
            False,
        ),
        (
            failed(Phase.STARTTLS, reply="554 5.7.3 never"),
            Words("5.7.3", "TLS is required, but host refused to start TLS: 554 5.7.3 never"),
            None,
            False,
        ),
        (
            failed(Phase.STARTTLS, reply="421 4.3.0 bye"),
            Words("4.3.0", "TLS is required, but host refused to start TLS: 421 4.3.0 bye"),
            Words("4.4.2", "lost connection with while sending MAIL FROM"),
            False,
        ),
        (
            failed(Phase.STARTTLS, CLOSED),
            Words("4.4.2", "lost connection with while receiving the STARTTLS response"),
            Words("4.4.2", "lost connection with while receiving the STARTTLS response"),
            False,
        ),
        *((failed(Phase.HANDSHAKE, kind), HANDSHAKE, HANDSHAKE, True)
          for kind in (FailureKind.TLS, TIMEOUT, CLOSED)),
    ],
)  # fmt: skip
def test_no_tls(
    found: ProbeResult, words: Words, plain: Words | None, *, tries_plain: bool
) -> None:
    """A host without TLS gets mail at level may, unless the handshake itself failed."""
    for main_cf in VERSIONS:
        assert judged(found, SECURE, main_cf).words == words
        assert judged(found, replace(SECURE, level=Level.ENCRYPT), main_cf).words == words
        at_may = judged(found, MAY, main_cf)
        assert (at_may.words, at_may.tries_plain) == (plain, tries_plain)
        assert at_may.tls is None
        assert judged(found, NONE, main_cf) == Judgement()


@pytest.mark.parametrize(
    ("tls", "words", "label", "identity"),
    [
        (session(), None, "Verified", Identity.FITS),
        (session("a.test", "*.x.test"), None, "Verified", Identity.FITS),
        (session(common_name=NAME), None, "Verified", Identity.COMMON_NAME),
        (session("a.test"), NOT_VERIFIED, "Trusted", Identity.DIFFERS),
        (session(error=EXPIRED), NOT_VERIFIED, "Untrusted", Identity.FITS),
        (session("a.test", error=EXPIRED), NOT_VERIFIED, "Untrusted", Identity.DIFFERS),
        (replace(session(), chain=()), NOT_VERIFIED, "Anonymous", None),
        (session(version="TLSv1.1"), HANDSHAKE, None, None),
    ],
)
def test_secure(
    tls: TlsSession, words: Words | None, label: str | None, identity: Identity | None
) -> None:
    """At level secure the chain and the name must be right."""
    found = judged(talked(tls))
    assert (found.words, found.tls, found.identity) == (words, label, identity)
    before = {"Trusted": "Untrusted"}.get(label or "", label)
    assert judged(talked(tls), SECURE, OLD) == replace(found, tls=before)


def test_no_tls_engine() -> None:
    """Without its CA file smtp(8) does without TLS: a policy holds mail, level may does not."""
    broken = replace(NEW, tls_is_available=False)
    engine = Words("4.7.5", "TLS is required, but our TLS engine is unavailable")
    assert judged(talked(tls=session()), main_cf=broken).words == engine
    assert judged(talked(tls=session()), MAY, broken) == Judgement()


def test_secure_without_a_name() -> None:
    """No certificate fits a policy without a name."""
    assert judged(talked(session()), replace(SECURE, names=())).words == NOT_VERIFIED


@pytest.mark.parametrize("level", [Level.MAY, Level.ENCRYPT])
@pytest.mark.parametrize(
    ("tls", "label"),
    [
        (session("a.test"), "Trusted"),
        (session(error=EXPIRED), "Untrusted"),
        (replace(session(), chain=()), "Anonymous"),
        (session(version="TLSv1.1"), "Trusted"),
    ],
)
def test_unauthenticated(level: Level, tls: TlsSession, label: str) -> None:
    """At levels may and encrypt, any certificate and TLS 1.1 will do."""
    found = judged(talked(tls), Demand(level))
    assert (found.words, found.tls, found.is_known) == (None, label, True)


@pytest.mark.parametrize("level", [Level.DANE, Level.DANE_ONLY])
def test_dane(level: Level) -> None:
    """With DANE only the TLSA records count."""
    good = session(error=EXPIRED, tlsa=matched(fits=True))
    assert judged(talked(good), Demand(level)).tls == "Verified"
    half = judged(talked(good), Demand(level, is_half_dane=True))
    assert (half.words, half.tls) == (None, "Trusted")
    bad = judged(talked(session(tlsa=matched(fits=False))), Demand(level))
    assert (bad.words, bad.is_known) == (NOT_VERIFIED, True)
    unknown = judged(talked(session()), Demand(level))
    assert (unknown.words, unknown.is_known) == (NOT_VERIFIED, False)


def test_fingerprint() -> None:
    """Fingerprints are not part of the model."""
    assert not judged(talked(session()), Demand(Level.FINGERPRINT)).is_known


def test_after_the_handshake() -> None:
    """The certificate is checked first; a connection lost after it is tried without TLS at may."""
    lost = failed(Phase.EHLO_IN_TLS, CLOSED, tls=session())
    words = Words("4.4.2", "lost connection with while performing the EHLO handshake")
    assert judged(lost).words == words
    assert not judged(lost).tries_plain
    assert judged(lost, MAY).tries_plain
    bad = failed(Phase.EHLO_IN_TLS, CLOSED, tls=session("a.test"))
    assert judged(bad).words == NOT_VERIFIED
    refused = failed(Phase.EHLO_IN_TLS, reply="421 4.7.0 not now", tls=session())
    at_may = judged(refused, MAY)
    assert at_may.words == Words("4.7.0", "host refused to talk to me: 421 4.7.0 not now")
    assert not at_may.tries_plain


@pytest.mark.parametrize(("is_best", "dsn"), [(True, "5.4.6"), (False, "4.4.6")])
def test_my_own_name(dsn: str, *, is_best: bool) -> None:
    """A host with this machine's name is this machine, at port 25."""
    me = replace(NEW, myhostname="Relay.test")
    found = replace(talked(session()), greeted_as="relay.TEST")
    words = judge(found, SECURE, me, is_best=is_best).words
    assert words == Words(dsn, "mail loops back to myself")
    elsewhere = replace(found, target=replace(TARGET, port=587))
    assert judge(elsewhere, SECURE, me, is_best=is_best).words is None


def test_incomplete_probe() -> None:
    """A probe that did not try TLS says nothing of it."""
    untried = replace(talked(), offers_starttls=True)
    assert not judged(untried).is_known
    assert judged(untried).words
    assert not judged(replace(talked(), offers_starttls=None)).is_known
