"""The TLS level of mail to domains without a policy."""

import pytest

from postfix_mta_sts.admin.doctor.report import Effect
from postfix_mta_sts.admin.doctor.rules.level import RULES
from tests.support.judged import found, only
from tests.support.snapshots import VERSIONS, changed, good, with_parameters, with_service

SET = "postconf -e 'smtp_tls_security_level = may' && postfix reload"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("level", ["may", "dane"])
def test_good(version: str, level: str) -> None:
    """TLS where it is offered."""
    assert not found(RULES, with_parameters(good(version), smtp_tls_security_level=level))


@pytest.mark.parametrize(("level", "shown"), [("", "empty"), ("none", "none")])
def test_none(level: str, shown: str) -> None:
    """The default of Postfix sends in plain text to domains without a policy."""
    finding = only(RULES, with_parameters(good(), smtp_tls_security_level=level))
    assert (finding.id, finding.effect, finding.mend) == ("level-none", Effect.NONE, SET)
    assert finding.what == f"smtp_tls_security_level is {shown}"


def test_the_parameters_before_it() -> None:
    """An empty level with smtp_use_tls is opportunistic TLS (postconf(5))."""
    assert not found(RULES, with_parameters(good(), smtp_tls_security_level="", smtp_use_tls="yes"))


@pytest.mark.parametrize("level", ["encrypt", "verify", "secure", "fingerprint", "dane-only"])
def test_strict(level: str) -> None:
    """A level that most domains cannot meet holds mail to them."""
    finding = only(RULES, with_parameters(good(), smtp_tls_security_level=level))
    assert (finding.id, finding.effect, finding.mend) == ("level-strict", Effect.NONE, SET)
    assert level in finding.what


@pytest.mark.parametrize("name", ["smtp/unix", "relay/unix"])
@pytest.mark.parametrize("level", ["", "none", "encrypt"])
def test_of_a_service(level: str, name: str) -> None:
    """A level of a service alone is no matter of these rules."""
    assert not found(RULES, with_service(good(), name, smtp_tls_security_level=level))


def test_of_no_service() -> None:
    """A level in main.cf that no service uses does nothing, nor does one that was not read."""
    bad = with_parameters(good(), smtp_tls_security_level="none")
    own = bad
    for name in ("smtp/unix", "relay/unix"):
        own = with_service(own, name, smtp_tls_security_level="may")
    assert not found(RULES, own)
    assert not found(RULES, changed(bad, services=(), problem="bad line"))
