"""Why one MX host does not take mail: code, fault and words of each cause."""

import itertools
from typing import Final

import pytest

from postfix_mta_sts.admin.diagnosis.causes import Cause, cause
from postfix_mta_sts.admin.diagnosis.values import Fault
from postfix_mta_sts.network.smtp.values import (
    FailureKind,
    Identity,
    Phase,
    ProbeResult,
    VerifyError,
)
from postfix_mta_sts.postfix.smtp_client.conversation import NO_ENGINE
from postfix_mta_sts.postfix.smtp_client.values import HostOutcome, Level
from postfix_mta_sts.values import replace
from tests.support.evidence import DAY, NOW
from tests.support.smtp_client import ADDRESS, NAME, failed, matched, session, talked

HELD: Final = HostOutcome(
    NAME, ADDRESS, is_tried=True, accepts=False, level=Level.SECURE, text="TLS is required"
)


def of(probe: ProbeResult | None, outcome: HostOutcome = HELD, *, has_ca: bool = True) -> Cause:
    """Return the cause."""
    return cause(outcome, probe, NOW, has_ca=has_ca)


FAILURES: Final = [
    (Phase.CONNECT, FailureKind.REFUSED, "connection-refused", Fault.THEIRS, "connection refused"),
    (Phase.CONNECT, FailureKind.TIMEOUT, "connection-timeout", Fault.NETWORK, "no answer"),
    (Phase.CONNECT, FailureKind.CLOSED, "connection-timeout", Fault.NETWORK, "no answer"),
    (Phase.CONNECT, FailureKind.UNREACHABLE, "unreachable", Fault.NETWORK, "this machine: it"),
    (Phase.GREETING, FailureKind.REPLY, "refused-to-talk", Fault.YOURS, "refuses to talk"),
    (Phase.EHLO, FailureKind.REPLY, "refused-to-talk", Fault.YOURS, "refuses to talk"),
    (Phase.EHLO_IN_TLS, FailureKind.REPLY, "refused-to-talk", Fault.YOURS, "refuses to talk"),
    (Phase.STARTTLS, FailureKind.REPLY, "starttls-refused", Fault.THEIRS, "STARTTLS refused: it"),
    (Phase.HANDSHAKE, FailureKind.TLS, "tls-handshake", Fault.THEIRS, "TLS handshake failed: it"),
    (Phase.HANDSHAKE, FailureKind.TIMEOUT, "conversation", Fault.NETWORK, "no answer in the TLS"),
    (Phase.HANDSHAKE, FailureKind.CLOSED, "tls-handshake", Fault.THEIRS, "handshake failed: it"),
    (Phase.GREETING, FailureKind.TIMEOUT, "conversation", Fault.NETWORK, "before its greeting"),
    (Phase.EHLO, FailureKind.CLOSED, "conversation", Fault.THEIRS, "closed after EHLO"),
    (Phase.STARTTLS, FailureKind.TIMEOUT, "conversation", Fault.NETWORK, "answer after STARTTLS"),
    (Phase.GREETING, FailureKind.NO_SMTP, "conversation", Fault.THEIRS, "its greeting: it"),
    (Phase.EHLO_IN_TLS, FailureKind.CLOSED, "conversation", Fault.THEIRS, "after EHLO in TLS"),
]


@pytest.mark.parametrize(("phase", "kind", "code", "fault", "words"), FAILURES)
def test_failures(phase: Phase, kind: FailureKind, code: str, fault: Fault, words: str) -> None:
    """A conversation that ends early."""
    found = of(failed(phase, kind, reason="it"))
    assert (found.code, found.fault) == (code, fault)
    assert words in found.words


def test_greylisted() -> None:
    """A temporary refusal is nobody's fault: Postfix tries again."""
    found = of(failed(Phase.GREETING, reply="421 4.7.0 greylisted", reason="421 4.7.0 greylisted"))
    assert (found.code, found.fault) == ("refused-to-talk", Fault.NOBODY)
    assert "for now: 421 4.7.0 greylisted" in found.words
    assert "tries again" in found.advice


@pytest.mark.parametrize(("phase", "kind"), [*itertools.product(Phase, FailureKind)])
def test_every_failure(phase: Phase, kind: FailureKind) -> None:
    """Every failure in every part has words and advice."""
    found = of(failed(phase, kind, reason="it"))
    assert found.words
    assert found.advice


CHAINS: Final = [
    (2, "certificate-unknown-issuer", "certificate is of an unknown issuer: CN=CA"),
    (9, "certificate-not-yet-valid", "certificate is valid only from 1970-01-01 on"),
    (10, "certificate-expired", "certificate expired 3 days ago"),
    (18, "certificate-self-signed", "certificate is self-signed"),
    (19, "certificate-self-signed", "certificate is of a CA that nobody else trusts"),
    (20, "certificate-unknown-issuer", "certificate is of an unknown issuer: CN=CA"),
    (21, "certificate-unknown-issuer", "certificate is of an unknown issuer: CN=CA"),
    (26, "certificate-purpose", "certificate is not one for servers"),
    (66, "certificate-weak", "certificate has a weak key"),
    (67, "certificate-weak", "certificate of its CA has a weak key"),
    (68, "certificate-weak", "certificate has a weak signature"),
    (23, "certificate", "certificate is not valid: {it} was revoked"),
]


def distrusted(number: int, depth: int = 0) -> ProbeResult:
    """A session with this error of OpenSSL; the certificate expired three days ago."""
    found = session(error=VerifyError(number, depth, "{it} was revoked"))
    (leaf,) = found.chain
    leaf = replace(leaf, not_after=round(NOW) - 3 * DAY)
    return talked(replace(found, chain=(leaf,)))


@pytest.mark.parametrize(("number", "code", "words"), CHAINS)
def test_chains(number: int, code: str, words: str) -> None:
    """A chain that OpenSSL does not trust is theirs to mend."""
    found = of(distrusted(number))
    assert (found.code, found.words, found.fault) == (code, words, Fault.THEIRS)


@pytest.mark.parametrize(
    ("number", "words"),
    [(10, "certificate expired at its CA"), (9, "certificate is valid only later")],
)
def test_above_the_leaf(number: int, words: str) -> None:
    """A date of another certificate of the chain is not that of the host's own."""
    assert of(distrusted(number, depth=1)).words == words


def test_no_ca() -> None:
    """Without CA certificates no chain can be trusted, which is yours to mend."""
    found = of(distrusted(20), has_ca=False)
    assert (found.code, found.fault) == ("no-ca", Fault.YOURS)


def test_no_engine() -> None:
    """A Postfix that cannot load its CA certificates does without TLS, which is yours to mend."""
    found = of(talked(session()), replace(HELD, text=NO_ENGINE.text))
    assert (found.code, found.fault) == ("no-tls-engine", Fault.YOURS)


def test_skipped() -> None:
    """A host that fits no pattern is skipped, whatever it does."""
    found = of(None, replace(HELD, skipped=True))
    assert (found.code, found.fault) == ("mx-not-in-policy", Fault.THEIRS)


def test_no_starttls() -> None:
    """A host that does not offer STARTTLS."""
    assert of(talked()).code == "no-starttls"


def test_dane() -> None:
    """TLSA records that do not fit count before the chain."""
    tls = session(error=VerifyError(18, 0, "self-signed"), tlsa=matched(fits=False))
    found = of(talked(tls))
    assert (found.code, found.fault) == ("dane-mismatch", Fault.THEIRS)
    assert found.words.endswith(": no record fits")


DIFFERS: Final = replace(HELD, identity=Identity.DIFFERS)


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (("a.test",), "a.test"),
        (("a.test", "b.test", "c.test", "d.test"), "a.test, b.test, c.test and 1 more"),
    ],
)
def test_wrong_name(names: tuple[str, ...], shown: str) -> None:
    """The sentence has the names of the certificate, not all of hundreds, and the right one."""
    found = of(talked(session(*names)), DIFFERS)
    assert (found.code, found.fault) == ("certificate-wrong-name", Fault.THEIRS)
    assert found.words == f"certificate is for {shown}, not for {NAME}"


def test_another_match() -> None:
    """A certificate for the host that `match=` does not name: of the policy, or of this Postfix."""
    probe = talked(session())
    theirs, yours = (of(probe, replace(DIFFERS, conforms=conforms)) for conforms in (False, True))
    assert (theirs.code, theirs.fault) == ("mx-not-in-policy", Fault.THEIRS)
    assert (yours.code, yours.fault) == ("certificate-other-match", Fault.YOURS)


@pytest.mark.parametrize("probe", [None, talked(session())])
def test_words_of_postfix(probe: ProbeResult | None) -> None:
    """What nothing explains is said in the words of Postfix."""
    assert of(probe).words == "TLS is required"
