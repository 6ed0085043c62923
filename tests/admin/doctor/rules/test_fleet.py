"""Findings about the store that relays share."""

import pytest

from postfix_mta_sts.admin.doctor.report import Effect
from postfix_mta_sts.admin.doctor.rules.fleet import fleet
from tests.support.snapshots import good, with_status


def test_fails() -> None:
    """A shared store that does not answer is a warning, and `fleet check` says what mends it."""
    seen = {"ok": False, "reason": "refused"}
    [finding] = fleet(with_status(good(), fleet=seen))
    assert (finding.id, finding.effect, finding.mend) == ("fleet", Effect.NONE, "")
    assert finding.what.endswith(": refused")
    assert "postfix-mta-sts fleet check" in finding.why


@pytest.mark.parametrize("seen", [None, {"ok": True, "reason": None}])
def test_works(seen: object) -> None:
    """A relay without a fleet, and one whose store answers, have no finding."""
    assert list(fleet(with_status(good(), fleet=seen))) == []
