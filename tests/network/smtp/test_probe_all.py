"""Many addresses are probed at once, within one deadline."""

import asyncio

import pytest

from postfix_mta_sts.network.smtp.probe import MAX_AT_ONCE, probe_all
from postfix_mta_sts.network.smtp.tls import Trust
from postfix_mta_sts.network.smtp.values import FailureKind, ProbeResult
from tests.support.longer import with_longer_time
from tests.support.smtp_host import SILENCE, SmtpHost
from tests.support.tls import Credential

PATIENCE = 60.0


async def test_order(credential: Credential, trust: Trust) -> None:
    """The results are in the order of the targets; they are told as they come."""
    early: list[ProbeResult] = []
    both = asyncio.Event()

    def note(result: ProbeResult) -> None:
        early.append(result)
        if len(early) == 2:
            both.set()

    async with (
        SmtpHost(plain={"": SILENCE}) as silent,
        SmtpHost(credential) as good,
        SmtpHost(plain={"": b"554 no\r\n"}) as bad,
    ):
        targets = [silent.target(), good.target(), bad.target()]
        probing = asyncio.create_task(
            probe_all(targets, trust, ehlo="c.test", deadline=PATIENCE, on_result=note)
        )
        await silent.reached.wait()
        await both.wait()
        assert not probing.done()
        silent.release()
        results = await probing
    assert [result.target for result in results] == targets
    assert sorted(early, key=results.index) == list(results)
    assert early[-1] == results[0]
    kinds = [result.failure and result.failure.kind for result in results]
    assert kinds == [FailureKind.CLOSED, None, FailureKind.REPLY]


@pytest.mark.parametrize("number", [MAX_AT_ONCE, 2 * MAX_AT_ONCE + 1])
async def test_black_holes(trust: Trust, number: int) -> None:
    """Silent hosts do not keep a probe longer than its deadline; each is reported as such."""
    async with asyncio.timeout(PATIENCE), SmtpHost(plain={"": SILENCE}) as host:
        results = await probe_all([host.target()] * number, trust, ehlo="c.test", deadline=0.3)
    assert len(results) == number
    assert {result.failure and result.failure.kind for result in results} == {FailureKind.TIMEOUT}


async def test_a_good_host_behind_black_holes(credential: Credential, trust: Trust) -> None:
    """Silent hosts leave time for those that are probed after them."""
    async with SmtpHost(plain={"": SILENCE}) as silent, SmtpHost(credential) as good:

        async def attempt(seconds: float) -> ProbeResult:
            targets = [silent.target()] * MAX_AT_ONCE + [good.target()]
            return (await probe_all(targets, trust, ehlo="c.test", deadline=seconds))[-1]

        result = await with_longer_time(attempt, lambda result: result.failure is None)
    assert result.failure is None


async def test_a_limited_number_at_a_time(credential: Credential, trust: Trust) -> None:
    """No more than `MAX_AT_ONCE` connections are open."""
    async with SmtpHost(credential) as host:
        targets = [host.target()] * (3 * MAX_AT_ONCE)
        results = await probe_all(targets, trust, ehlo="c.test", deadline=PATIENCE)
        assert host.most_at_once <= MAX_AT_ONCE
    assert {result.failure for result in results} == {None}


async def test_nothing(trust: Trust) -> None:
    """No targets, no results."""
    assert await probe_all([], trust, ehlo="c.test", deadline=PATIENCE) == ()


async def test_cancellation(trust: Trust) -> None:
    """All connections are closed at once."""
    async with SmtpHost(plain={"": SILENCE}) as host:
        targets = [host.target()] * MAX_AT_ONCE
        probing = asyncio.create_task(probe_all(targets, trust, ehlo="c.test", deadline=PATIENCE))
        await host.reached.wait()
        probing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await probing
        await host.empty.wait()
