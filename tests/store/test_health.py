"""The health of the store: when a call is allowed, and what is logged."""

from collections.abc import Callable

from postfix_mta_sts.store import StoreError
from postfix_mta_sts.store.health import Health, timeout_error


def test_calls_pause_after_a_failure() -> None:
    """After a failure no call is allowed until the pause is over; after a success any is."""
    health = Health("reading", 1.0, 5.0)
    assert health.allows(0.0)
    health.failed(StoreError("bad disk"), retry_at=5.0)
    assert [health.allows(now) for now in (0.0, 4.9, 5.0)] == [False, False, True]
    health.succeeded()
    assert health.allows(0.0)


def test_only_changes_are_logged(log_lines: Callable[[], list[str]]) -> None:
    """The first failure in a row is logged, and the first success after it."""
    health = Health("writing", 3.0, 5.0)
    health.succeeded()
    for _ in range(3):
        health.failed(timeout_error("writing", health.timeout), retry_at=5.0)
    for _ in range(3):
        health.succeeded(7)
    assert log_lines() == [
        'WARNING store failing operation=writing reason="writing took longer than 3 s"',
        "INFO store recovered operation=writing written=7",
    ]
