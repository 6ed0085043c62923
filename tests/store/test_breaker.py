"""Circuit breakers: when a call is allowed, and what is logged."""

from collections.abc import Callable

from postfix_mta_sts.store import StoreError
from postfix_mta_sts.store.breaker import Breaker, timeout_error


def test_calls_pause_after_a_failure() -> None:
    """After a failure no call is allowed until the pause is over; after a success any is."""
    breaker = Breaker("reading", 1.0, 5.0)
    assert breaker.allows(0.0)
    breaker.failed(StoreError("bad disk"), retry_at=5.0)
    assert [breaker.allows(now) for now in (0.0, 4.9, 5.0)] == [False, False, True]
    breaker.succeeded()
    assert breaker.allows(0.0)


def test_only_changes_are_logged(log_lines: Callable[[], list[str]]) -> None:
    """The first failure in a row is logged, and the first success after it."""
    breaker = Breaker("writing", 3.0, 5.0)
    breaker.succeeded()
    for _ in range(3):
        breaker.failed(timeout_error("writing", breaker.timeout), retry_at=5.0)
    for _ in range(3):
        breaker.succeeded(7)
    assert log_lines() == [
        'WARNING store failing operation=writing reason="writing took longer than 3 s"',
        "INFO store recovered operation=writing written=7",
    ]
