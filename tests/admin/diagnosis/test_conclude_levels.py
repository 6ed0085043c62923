"""The verdict, by what was found."""

import pytest

from postfix_mta_sts.admin.diagnosis import held
from postfix_mta_sts.admin.diagnosis.conclude import conclude
from postfix_mta_sts.admin.diagnosis.evidence import Evidence
from postfix_mta_sts.admin.diagnosis.values import Flow
from postfix_mta_sts.mtasts.dane import DaneOutcome, Host, HostState, MxState
from postfix_mta_sts.mtasts.errors import NoRecordError
from postfix_mta_sts.postfix.smtp_client.values import (
    Delivery,
    HostOutcome,
    Level,
    MainCf,
    NextHop,
    Outcome,
)
from tests.support.evidence import NO_RECORD, evidence
from tests.support.smtp_client import ADDRESS, NAME, session, talked


@pytest.mark.parametrize("level", ["dane", "DANE", "Dane-Only"])
def test_the_level_of_main_cf_in_any_case(level: str) -> None:
    """Postfix reads its levels in any case, and so does the verdict."""
    found = Evidence.of(NextHop("good.test", "good.test"), 1_800_000_000.0)
    found.main_cf = MainCf(smtp_tls_security_level=level)
    found.network.error = NoRecordError("NXDOMAIN")
    host = Host("mx.good.test", HostState.USABLE, "TLSA: 1 found")
    found.outcome = DaneOutcome(MxState.SECURE, "MX: 1 found", (host,), 60)
    assert conclude(found).flow is Flow.DANE


def test_main_cf_verifies_mail_without_a_policy() -> None:
    """At level secure the certificate is verified, which no policy of the domain has asked for."""
    main_cf = MainCf(smtp_tls_security_level="secure", smtp_tls_secure_cert_match="hostname")
    verdict = conclude(evidence(talked(session()), error=NO_RECORD, main_cf=main_cf))
    assert verdict.sentence.endswith("verified as smtp_tls_security_level = secure demands")


@pytest.mark.parametrize(("level", "notes"), [(Level.SECURE, 1), (Level.DANE_ONLY, 0)])
def test_dane_goes_before_a_policy(level: Level, notes: int) -> None:
    """A host that DANE has verified breaches nothing, whatever its certificate is (§2)."""
    found = evidence()
    host = HostOutcome(
        NAME, ADDRESS, is_tried=True, accepts=True, level=level, conforms=False, breach="no CA"
    )
    found.delivery = Delivery(Outcome.SENT, "2.0.0", "", level, hosts=(host,))
    assert len(list(held.weaknesses(found))) == notes
