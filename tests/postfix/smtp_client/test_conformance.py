"""Whether RFC 8461 allows an MX host, whatever Postfix does."""

import pytest

from postfix_mta_sts.mtasts.policy import parse_policy
from postfix_mta_sts.network.smtp.values import FailureKind, Phase, ProbeResult
from postfix_mta_sts.postfix.smtp_client.conformance import UNKNOWN, conformance
from postfix_mta_sts.values import replace
from tests.support.smtp_client import EXPIRED, NAME, failed, session, talked

POLICY = parse_policy(b"version: STSv1\nmode: testing\nmx: mx.x.test\nmx: *.y.test\nmax_age: 9\n")


@pytest.mark.parametrize(
    ("found", "breach"),
    [
        (talked(session()), ""),
        (talked(session("*.x.test")), ""),
        (talked(session(version="TLSv1.1")), ""),
        (failed(Phase.EHLO_IN_TLS, FailureKind.CLOSED, tls=session()), ""),
        (talked(session(common_name=NAME)), "only the common name"),
        (talked(session("a.test")), "for another name"),
        (talked(session(error=EXPIRED)), "not valid: certificate has expired"),
        (talked(replace(session(), chain=())), "no certificate"),
        (talked(), "does not offer STARTTLS"),
        (failed(Phase.CONNECT, FailureKind.REFUSED), "starts no TLS session"),
        (failed(Phase.STARTTLS, reply="454 no"), "starts no TLS session"),
        (failed(Phase.HANDSHAKE, FailureKind.TLS), "starts no TLS session"),
    ],
)
def test_sessions(found: ProbeResult, breach: str) -> None:
    """A host conforms with TLS and a valid certificate that has its name as DNS-ID (§4.2)."""
    result = conformance(POLICY, NAME, found)
    assert result.conforms is not bool(breach)
    assert breach in result.breach


@pytest.mark.parametrize(
    ("name", "conforms"),
    [
        ("mx.y.test", True),
        ("MX.Y.test", True),
        ("mx_1.y.test", True),
        ("a.mx.y.test", False),
        ("y.test", False),
        ("", False),
    ],
)
def test_names(name: str, *, conforms: bool) -> None:
    """The host's name must fit an mx pattern, in which a star is one label (§4.1)."""
    found = conformance(POLICY, name, talked(session(name)))
    assert found.conforms is conforms
    assert ("section 4.1" in found.breach) is not conforms


def test_unknown() -> None:
    """Without a policy, and without a probe that tried TLS, nothing can be said."""
    assert conformance(None, NAME, talked(session("a.test"))) == UNKNOWN
    assert conformance(POLICY, NAME, None) == UNKNOWN
    assert conformance(POLICY, NAME, replace(talked(), offers_starttls=True)) == UNKNOWN
    assert conformance(POLICY, "a.test", None).conforms is False
