"""The ways to a store: whether each fails, and when it is asked again."""

import logging

import pytest

from postfix_mta_sts.store import StoreError
from postfix_mta_sts.store.breaker import Breaker, too_slow


def test_a_way_that_fails_has_its_pause() -> None:
    """It is asked again when that is over, and at any time once it works."""
    way = Breaker("reading", 1.0)
    assert way.may_be_asked(0.0)
    way.failed(StoreError("bad disk"), retry_at=5.0)
    assert [way.may_be_asked(now) for now in (0.0, 4.9, 5.0)] == [False, False, True]
    way.works()
    assert way.may_be_asked(0.0)


def test_only_changes_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The first failure in a row, and the first success after."""
    caplog.set_level(logging.INFO)
    way = Breaker("writing", 3.0)
    way.works()
    for _ in range(3):
        way.failed(too_slow("writing", way), retry_at=5.0)
    for _ in range(3):
        way.works(7)
    assert [f"{r.levelname} {r.getMessage()}" for r in caplog.records] == [
        'WARNING store failing doing=writing reason="writing took longer than 3 s"',
        "INFO store works again doing=writing written=7",
    ]
