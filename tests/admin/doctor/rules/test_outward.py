"""Findings about the way to the servers of other domains."""

from dataclasses import replace

import pytest

from postfix_mta_sts.admin.doctor.report import Effect
from postfix_mta_sts.admin.doctor.rules.outward import RULES
from postfix_mta_sts.admin.doctor.snapshot import Outward
from tests.support.snapshots import good


@pytest.mark.parametrize(
    ("outward", "id_", "effect"),
    [
        (Outward("x.test", https_problem="refused"), "https-blocked", Effect.UNPROTECTED),
        (Outward("x.test", smtp_problem="refused"), "smtp-blocked", Effect.HELD),
        (
            Outward("x.test", has_starttls=False, has_enforced_policy=True),
            "starttls-stripped",
            Effect.HELD,
        ),
    ],
)
def test_blocked(outward: Outward, id_: str, effect: Effect) -> None:
    """The domain is named; no command on this machine mends it."""
    [finding] = [each for rule in RULES for each in rule(replace(good(), outward=outward))]
    assert (finding.id, finding.effect, finding.mend) == (id_, effect, "")
    assert "x.test" in finding.what


@pytest.mark.parametrize(
    "outward",
    [
        None,
        Outward("x.test", has_starttls=True, has_enforced_policy=True),
        Outward("x.test", has_starttls=None, has_enforced_policy=True),
        Outward("x.test", has_starttls=False),
    ],
)
def test_open(outward: Outward | None) -> None:
    """Servers that are reached, or that promise no TLS, are no findings."""
    assert [each for rule in RULES for each in rule(replace(good(), outward=outward))] == []
