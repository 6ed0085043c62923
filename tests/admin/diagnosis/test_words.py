"""Phrases that several parts of a diagnosis share."""

import pytest

from postfix_mta_sts.admin.diagnosis.evidence import Evidence
from postfix_mta_sts.admin.diagnosis.words import names_of, subject
from postfix_mta_sts.postfix.smtp_client.values import NextHop
from tests.support.smtp_client import certificate


@pytest.mark.parametrize(
    ("names", "common_name", "expected"),
    [
        (("a.test",), None, "a.test"),
        (tuple(f"{n}.test" for n in range(5000)), None, "0.test, 1.test, 2.test and 4997 more"),
        ((), "b.test", "b.test"),
        ((), None, "no name"),
    ],
)
def test_names_of(names: tuple[str, ...], common_name: str | None, expected: str) -> None:
    """A certificate with thousands of names does not fill a sentence, or a letter."""
    assert names_of(certificate(*names, common_name=common_name)) == expected


@pytest.mark.parametrize(
    ("next_hop", "named"),
    [
        (NextHop("[Mx.x.test]:587", "mx.x.test", 587, has_mx=False), "[Mx.x.test]:587"),
        (NextHop("bücher.test", "xn--bcher-kva.test"), "xn--bcher-kva.test"),
    ],
)
def test_subject(next_hop: NextHop, named: str) -> None:
    """A next-hop is named as it was given, or with A-labels."""
    assert subject(Evidence.of(next_hop, 0.0)) == f"Mail to {named}"
