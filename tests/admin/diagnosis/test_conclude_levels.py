"""The verdict, by what was found."""

import pytest

from postfix_mta_sts.admin.diagnosis.conclude import conclude
from postfix_mta_sts.admin.diagnosis.evidence import Evidence
from postfix_mta_sts.admin.diagnosis.values import Flow
from postfix_mta_sts.mtasts.dane import DaneOutcome, Host, HostState, MxState
from postfix_mta_sts.mtasts.errors import NoRecordError
from postfix_mta_sts.postfix.smtp_client.values import MainCf, NextHop


@pytest.mark.parametrize("level", ["dane", "DANE", "Dane-Only"])
def test_the_level_of_main_cf_in_any_case(level: str) -> None:
    """Postfix reads its levels in any case, and so does the verdict."""
    evidence = Evidence.of(NextHop("good.test", "good.test"), 1_800_000_000.0)
    evidence.main_cf = MainCf(smtp_tls_security_level=level)
    evidence.network.error = NoRecordError("NXDOMAIN")
    host = Host("mx.good.test", HostState.USABLE, "TLSA: 1 found")
    evidence.outcome = DaneOutcome(MxState.SECURE, "MX: 1 found", (host,), 60)
    assert conclude(evidence).flow is Flow.DANE
