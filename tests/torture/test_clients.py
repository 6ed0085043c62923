"""The words for replies, and how late the clients themselves are."""

import asyncio

import pytest

from tests.torture.clients import Lag, socketmap_answer, tcp_table_answer

SECURE = "secure match=mx1.a.test servername=hostname"


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        (b"NOTFOUND ", "NOTFOUND"),
        (b"TEMP MTA-STS: DNS failure", "TEMP"),
        (b"OK dane-only", "dane-only"),
        (f"OK {SECURE}".encode(), SECURE),
        (f"OK {SECURE} policy_type=sts policy_domain=a.test".encode(), SECURE),
    ],
)
def test_socketmap(reply: bytes, answer: str) -> None:
    """The status decides; attributes for reports are left out."""
    assert socketmap_answer(reply) == answer


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        (b"500 not found", "NOTFOUND"),
        (b"400 try again", "TEMP"),
        (b"200 dane-only", "dane-only"),
        (b"200 secure%20match=mx1.a.test%20servername=hostname", SECURE),
    ],
)
def test_tcp_table(reply: bytes, answer: str) -> None:
    """The same, with the codes and the quoting of tcp_table(5)."""
    assert tcp_table_answer(reply) == answer


async def test_lag_is_what_others_take_of_the_loop() -> None:
    """A loop that stands still is late, and too late is told."""
    told: list[object] = []
    lag = Lag(told.append)
    task = asyncio.create_task(lag.measure(), name="lag")
    loop = asyncio.get_running_loop()
    await asyncio.sleep(0)
    started = loop.time()
    while loop.time() < started + 0.6:
        pass  # as a server that computes
    await asyncio.sleep(0.05)
    task.cancel()
    assert lag.during(started, loop.time()) > 0.5
    assert lag.during(started - 20, started - 10) == 0
    assert lag.busy > 0.5
    assert len(told) >= 2
