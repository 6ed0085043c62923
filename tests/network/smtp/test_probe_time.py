"""A probe of one address ends when its time is up, or when it is cancelled."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import pytest

from postfix_mta_sts.network.smtp.probe import probe
from postfix_mta_sts.network.smtp.tls import Trust
from postfix_mta_sts.network.smtp.values import (
    FailureKind,
    Phase,
    ProbeResult,
    ProbeTarget,
    SmtpFailure,
)
from tests.support.longer import with_longer_time
from tests.support.smtp_host import SILENCE, SmtpHost
from tests.support.tls import Credential

PATIENCE = 60.0
"""Seconds that nothing needs, on a busy machine either."""


@pytest.fixture
def full_port() -> Iterator[int]:
    """A port that answers no further connection: its queue is full, and nobody accepts."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(0)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


async def run_out_of_time(host: SmtpHost, trust: Trust, phase: Phase) -> SmtpFailure:
    """The failure of a probe whose time is up in a phase; it has more time on a busy machine."""

    async def attempt(seconds: float) -> SmtpFailure:
        result = await probe(host.target(), trust, ehlo="client.test", timeout=seconds)
        assert result.failure
        return result.failure

    failure = await with_longer_time(attempt, lambda failure: failure.phase is phase)
    await host.left.wait()
    return failure


@pytest.mark.parametrize(
    ("phase", "command"),
    [(Phase.GREETING, ""), (Phase.EHLO, "EHLO"), (Phase.STARTTLS, "STARTTLS")],
)
async def test_silence(trust: Trust, phase: Phase, command: str) -> None:
    """A host that does not answer is left when the time is up."""
    async with SmtpHost(plain={command: SILENCE}) as host:
        failure = await run_out_of_time(host, trust, phase)
    assert failure == SmtpFailure(
        phase=phase, kind=FailureKind.TIMEOUT, reason="conversation timed out"
    )


async def test_silence_in_the_handshake(trust: Trust) -> None:
    """The same in the handshake."""
    async with SmtpHost(instead_of_tls=SILENCE) as host:
        failure = await run_out_of_time(host, trust, Phase.HANDSHAKE)
    assert (failure.phase, failure.kind) == (Phase.HANDSHAKE, FailureKind.TIMEOUT)


async def test_silence_in_tls(credential: Credential, trust: Trust) -> None:
    """The same in TLS."""
    async with SmtpHost(credential, secure={"EHLO": SILENCE}) as host:
        failure = await run_out_of_time(host, trust, Phase.EHLO_IN_TLS)
    assert (failure.phase, failure.kind) == (Phase.EHLO_IN_TLS, FailureKind.TIMEOUT)


async def test_another_protocol(trust: Trust) -> None:
    """A server that speaks first, but not SMTP, is told from a silent one."""
    async with SmtpHost(plain={"": b"SSH-2.0-OpenSSH_9.2\r\n"}) as host:
        failure = await run_out_of_time(host, trust, Phase.GREETING)
    assert (failure.phase, failure.kind) == (Phase.GREETING, FailureKind.NO_SMTP)
    assert failure.reason == "no reply after 'SSH-2.0-OpenSSH_9.2'"


async def test_silence_after_quit(trust: Trust) -> None:
    """The reply to QUIT is not worth a failure."""
    plain = {"EHLO": b"250 mx.test\r\n", "QUIT": SILENCE}
    async with SmtpHost(plain=plain) as host:

        async def attempt(seconds: float) -> ProbeResult:
            return await probe(host.target(), trust, ehlo="client.test", timeout=seconds)

        result = await with_longer_time(attempt, lambda _: host.reached.is_set())
    assert result.failure is None


async def test_a_black_hole(trust: Trust, full_port: int) -> None:
    """A host that does not even refuse the connection takes the whole time."""
    target = ProbeTarget(host="mx.test", address="127.0.0.1", port=full_port)
    result = await probe(target, trust, ehlo="client.test", timeout=0.1)
    assert result.failure == SmtpFailure(
        phase=Phase.CONNECT, kind=FailureKind.TIMEOUT, reason="Connection timed out"
    )


async def test_no_time(credential: Credential, trust: Trust) -> None:
    """Without time there is no connection."""
    async with SmtpHost(credential) as host:
        result = await probe(host.target(), trust, ehlo="client.test", timeout=0)
    assert host.connections == 0
    assert result.failure
    assert (result.failure.phase, result.failure.kind) == (Phase.CONNECT, FailureKind.TIMEOUT)


async def test_cancellation(trust: Trust) -> None:
    """A probe that is cancelled closes its connection."""
    async with SmtpHost(plain={"EHLO": SILENCE}) as host:
        probing = asyncio.create_task(
            probe(host.target(), trust, ehlo="client.test", timeout=PATIENCE)
        )
        await host.reached.wait()
        probing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await probing
        await host.left.wait()
