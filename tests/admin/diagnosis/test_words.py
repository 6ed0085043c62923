"""Phrases that several parts of a diagnosis share."""

import pytest

from postfix_mta_sts.admin.diagnosis.words import names_of
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
