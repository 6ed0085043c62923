"""Phrases that several parts of a diagnosis share."""

import pytest

from postfix_mta_sts.admin.diagnosis.evidence import Evidence
from postfix_mta_sts.admin.diagnosis.words import enumerated, names_of, subject
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


@pytest.mark.parametrize(
    ("failing", "total", "expected"),
    [
        (1, 1, "its MX host mx1 fails: expired"),
        (1, 2, "mx1, the only one of its 2 MX hosts that Postfix tries, fails: expired"),
        (2, 2, "all 2 MX hosts fail: expired"),
        (2, 3, "the 2 of its 3 MX hosts that Postfix tries fail: expired"),
    ],
)
def test_enumerated(failing: int, total: int, expected: str) -> None:
    """A host that fails alone is named; hosts that Postfix does not try count in the total."""
    hosts = [(f"mx{n}", "expired") for n in range(1, failing + 1)]

    assert enumerated(hosts, total) == expected
