"""When an exception decides about mail, and when it changes nothing."""

import pytest

from postfix_mta_sts.admin.diagnosis.by_exception import deciding
from postfix_mta_sts.admin.diagnosis.conclude import conclude
from postfix_mta_sts.mtasts.exceptions import Use
from postfix_mta_sts.mtasts.policy import Policy
from postfix_mta_sts.values import replace
from tests.support.diagnoses import EXCEPTED, EXCEPTION, TABLE
from tests.support.evidence import ENFORCE, NO_RECORD, TESTING, evidence

DANE = "OK dane-only"
SECURE = "OK secure match=mx.x.test servername=hostname"


@pytest.mark.parametrize(
    ("use", "reply", "policy", "decides"),
    [
        (Use.IGNORE, "NOTFOUND ", ENFORCE, True),
        (Use.IGNORE, "NOTFOUND ", TESTING, False),
        (Use.IGNORE, "NOTFOUND ", None, False),
        (Use.IGNORE, DANE, ENFORCE, False),
        (Use.MAY, "OK may", None, True),
        (Use.MAY, DANE, ENFORCE, False),
        (Use.ENCRYPT, "OK encrypt", ENFORCE, True),
        (Use.ENFORCE, SECURE, TESTING, True),
        (Use.ENFORCE, SECURE, ENFORCE, False),
        (Use.PIN, SECURE, None, True),
        (Use.PIN, DANE, ENFORCE, False),
    ],
)
def test_deciding(use: Use, reply: str, policy: Policy | None, *, decides: bool) -> None:
    """It decides if Postfix is told what it demands, and would be told something else without."""
    daemon = replace(EXCEPTED, exception=replace(EXCEPTION, use=use))
    error = None if policy else NO_RECORD
    made = evidence(reply=reply, policy=policy, error=error, daemon=daemon)
    assert (deciding(made) is not None) is decides
    assert any("exception" in each for each in conclude(made).advice) is decides


def test_another_table_comes_first() -> None:
    """An entry of another table decides, whatever the daemon would say."""
    assert deciding(evidence(reply="OK may", daemon=EXCEPTED, postfix=TABLE)) is None


def test_of_the_configuration() -> None:
    """What a command cannot remove is removed in the configuration."""
    written = replace(EXCEPTION, added_at=None, uid=None, until=None)
    daemon = replace(EXCEPTED, exception=written)
    verdict = conclude(evidence(reply="NOTFOUND ", daemon=daemon))
    assert "x.test (ignore, forever)" in verdict.sentence
    assert "remove the exception from the configuration" in verdict.advice[-1]
