"""A probe of one address: the steps of the conversation, and each way in which it can end early."""

import asyncio
import errno
import os
import socket
import time
from collections.abc import Mapping
from functools import partial

import pytest
from aiosmtpd.smtp import SMTP

from postfix_mta_sts.network.smtp.failures import from_system
from postfix_mta_sts.network.smtp.probe import probe
from postfix_mta_sts.network.smtp.tls import MAX_OVERHEAD, Trust
from postfix_mta_sts.network.smtp.values import (
    FailureKind,
    Phase,
    ProbeResult,
    ProbeTarget,
    SmtpFailure,
    SmtpReply,
    SmtpStep,
)
from tests.support.hostile_host import HELLO_REQUEST
from tests.support.smtp_host import BROKEN, CLOSE, RESET, SmtpHost
from tests.support.tls import Authority, Credential
from tests.support.tlsa import tlsa_record

PATIENCE = 60.0
"""Seconds that nothing needs, on a busy machine either."""
ALERT = b"\x15\x03\x03\x00\x02\x02\x28"
"""A fatal alert: handshake_failure (RFC 8446 §6.2)."""


async def ask(host: SmtpHost, trust: Trust, steps: list[SmtpStep] | None = None) -> ProbeResult:
    """Probe a host."""
    on_step = None if steps is None else steps.append
    return await probe(host.target(), trust, ehlo="client.test", timeout=PATIENCE, on_step=on_step)


async def fail(host: SmtpHost, trust: Trust) -> SmtpFailure:
    """The failure of a probe, which is not one of its steps."""
    async with host:
        result = await ask(host, trust)
    assert result.failure
    assert result.failure.phase not in {step.phase for step in result.steps}
    assert host.connections == 1
    return result.failure


@pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])
async def test_a_whole_conversation(credential: Credential, trust: Trust) -> None:
    """A probe goes as far as a mail client before a message, and reports each step at once."""
    steps: list[SmtpStep] = []
    async with SmtpHost(credential) as host:
        result = await ask(host, trust, steps)
        await host.left.wait()
    assert host.commands == ["EHLO client.test", "STARTTLS", "EHLO client.test", "QUIT"]
    assert result.failure is None
    assert result.greeted_as == "mx.test"
    assert result.offers_starttls is True
    assert result.tls
    assert [(step.phase, step.text) for step in steps] == [
        (Phase.CONNECT, f"connected to 127.0.0.1, port {host.port}"),
        (Phase.GREETING, "220 mx.test ESMTP"),
        (Phase.EHLO, "250-mx.test 250-PIPELINING 250 STARTTLS"),
        (Phase.STARTTLS, "220 2.0.0 go ahead"),
        (Phase.HANDSHAKE, f"{result.tls.version}, {result.tls.cipher}"),
        (Phase.EHLO_IN_TLS, "250-mx.test 250 PIPELINING"),
    ]
    assert result.steps == tuple(steps)
    assert all(step.seconds >= 0 for step in steps)


async def test_ipv6(credential: Credential, trust: Trust) -> None:
    """An address may be of either family."""
    async with SmtpHost(credential, host="::1") as host:
        result = await ask(host, trust)
    assert result.failure is None
    assert result.steps[0].text == f"connected to ::1, port {host.port}"


async def test_another_server(credential: Credential, trust: Trust) -> None:
    """A probe gets on with a server that was not written for it."""
    loop = asyncio.get_running_loop()
    context = credential.server_context()
    server = await loop.create_server(
        lambda: SMTP(object(), hostname="mx.test", tls_context=context, loop=loop),
        "127.0.0.1",
        0,
    )
    async with server:
        address, port = server.sockets[0].getsockname()
        target = ProbeTarget(host="mx.test", address=address, port=port, sni="mx.test")
        result = await probe(target, trust, ehlo="client.test", timeout=PATIENCE)
    assert result.failure is None
    assert result.greeted_as == "mx.test"
    assert result.tls
    assert result.tls.error is None


async def test_tlsa(credential: Credential, trust: Trust) -> None:
    """TLSA records are matched if there are some."""
    good = tlsa_record(3, 1, 1, credential.certificate)
    async with SmtpHost(credential) as host:
        for records in ((), (good,)):
            target = host.target(tlsa=records, tlsa_names=("mx.test",))
            result = await probe(target, trust, ehlo="client.test", timeout=PATIENCE)
            assert result.tls
            assert (result.tls.tlsa and result.tls.tlsa.record) == (good if records else None)


async def test_a_trust_anchor_at_another_time(trust: Trust) -> None:
    """Whether the path to a trust anchor is valid depends on the clock that the probe is given."""
    authority = Authority()
    sent = authority.issue("mx.test").followed_by(authority.certificate)
    anchor = tlsa_record(2, 0, 1, authority.certificate)
    async with SmtpHost(sent) as host:
        target = host.target(tlsa=(anchor,), tlsa_names=("mx.test",))
        later = time.time() + 10 * 365 * 86_400
        for now, record in ((time.time(), anchor), (later, None)):
            result = await probe(
                target, trust, ehlo="client.test", timeout=PATIENCE, clock=partial(float, now)
            )
            assert result.tls
            assert result.tls.tlsa
            assert result.tls.tlsa.record == record


async def test_starttls_is_not_offered(trust: Trust) -> None:
    """That is a finding, not a failure."""
    async with SmtpHost(plain={"EHLO": b"250 mx.test\r\n"}) as host:
        result = await ask(host, trust)
    assert host.commands == ["EHLO client.test", "QUIT"]
    assert (result.failure, result.offers_starttls, result.tls) == (None, False, None)


async def test_starttls_is_not_wanted(trust: Trust) -> None:
    """A probe without TLS leaves after EHLO."""
    async with SmtpHost() as host:
        target = host.target(starttls=False)
        result = await probe(target, trust, ehlo="client.test", timeout=PATIENCE)
    assert host.commands == ["EHLO client.test", "QUIT"]
    assert (result.failure, result.offers_starttls, result.tls) == (None, True, None)


async def test_helo(trust: Trust) -> None:
    """A server that refuses EHLO is greeted by HELO, and offers nothing."""
    async with SmtpHost(plain={"EHLO": b"502 what?\r\n"}) as host:
        result = await ask(host, trust)
    assert host.commands == ["EHLO client.test", "HELO client.test", "QUIT"]
    assert (result.failure, result.offers_starttls) == (None, False)
    assert result.steps[-1].text == "250 mx.test"


async def test_helo_in_tls(credential: Credential, trust: Trust) -> None:
    """The same in TLS; what was offered before stays on record."""
    async with SmtpHost(credential, secure={"EHLO": b"502 what?\r\n"}) as host:
        result = await ask(host, trust)
    assert host.commands[2:] == ["EHLO client.test", "HELO client.test", "QUIT"]
    assert (result.failure, result.offers_starttls) == (None, True)


@pytest.mark.parametrize(
    ("phase", "plain"),
    [
        (Phase.GREETING, {"": b"554 5.7.1 go away\r\n"}),
        (Phase.EHLO, {"EHLO": b"421 5.7.1 go away\r\n"}),
        (Phase.EHLO, {"EHLO": b"500 no\r\n", "HELO": b"550 5.7.1 go away\r\n"}),
        (Phase.STARTTLS, {"STARTTLS": b"454 5.7.1 go away\r\n"}),
    ],
)
async def test_refusals(trust: Trust, phase: Phase, plain: Mapping[str, bytes]) -> None:
    """A reply that ends the conversation is reported, and the probe takes its leave."""
    host = SmtpHost(plain=plain)
    failure = await fail(host, trust)
    assert (failure.phase, failure.kind) == (phase, FailureKind.REPLY)
    assert failure.reply
    assert failure.reason == failure.reply.text
    assert failure.reply.text.endswith(" 5.7.1 go away")
    assert host.commands[-1] == "QUIT"


async def test_refusal_in_tls(credential: Credential, trust: Trust) -> None:
    """The same in TLS."""
    host = SmtpHost(credential, secure={"EHLO": b"421-4.3.2 a\r\n421 4.3.2 b\r\n"})
    failure = await fail(host, trust)
    assert failure.phase is Phase.EHLO_IN_TLS
    expected = SmtpReply(code=421, text="421-4.3.2 a 421 4.3.2 b", status="4.3.2")
    assert failure.reply == expected


@pytest.mark.parametrize(
    ("phase", "command"),
    [(Phase.GREETING, ""), (Phase.EHLO, "EHLO"), (Phase.STARTTLS, "STARTTLS")],
)
@pytest.mark.parametrize(
    ("ending", "reason"), [(CLOSE, "lost connection"), (RESET, "Connection reset by peer")]
)
async def test_closed(trust: Trust, phase: Phase, command: str, ending: bytes, reason: str) -> None:
    """A connection may be closed or reset in each phase."""
    failure = await fail(SmtpHost(plain={command: ending}), trust)
    assert failure == SmtpFailure(phase=phase, kind=FailureKind.CLOSED, reason=reason)


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        (CLOSE, FailureKind.CLOSED, "lost connection"),
        (RESET, FailureKind.CLOSED, "Connection reset by peer"),
        (b"500 what?\r\n", FailureKind.TLS, "wrong version number"),
        (b"\x16\x03\x03\x40\x00" + bytes(20_000), FailureKind.TLS, ""),
        (HELLO_REQUEST * 20_000, FailureKind.TLS, f"more than {MAX_OVERHEAD} bytes of TLS"),
        (ALERT, FailureKind.TLS, "alert handshake failure"),
    ],
)
async def test_no_tls(trust: Trust, answer: bytes, kind: FailureKind, reason: str) -> None:
    """A handshake may be answered by anything; no QUIT follows it."""
    host = SmtpHost(instead_of_tls=answer)
    failure = await fail(host, trust)
    assert (failure.phase, failure.kind) == (Phase.HANDSHAKE, kind)
    assert reason in failure.reason
    assert "QUIT" not in host.commands


@pytest.mark.parametrize(("ending", "reason"), [(CLOSE, ""), (RESET, ""), (BROKEN, ": ")])
async def test_lost_in_tls(
    credential: Credential, trust: Trust, ending: bytes, reason: str
) -> None:
    """A connection that ends within TLS, in whatever way, is lost, as for Postfix."""
    failure = await fail(SmtpHost(credential, secure={"EHLO": ending}), trust)
    assert (failure.phase, failure.kind) == (Phase.EHLO_IN_TLS, FailureKind.CLOSED)
    assert failure.reason.startswith((f"lost connection{reason}", "Connection reset by peer"))


@pytest.mark.parametrize(
    ("phase", "plain"),
    [
        (Phase.GREETING, {"": b"220 " + b"x" * 5_000}),
        (Phase.GREETING, {"": b"220-x\r\n" * 200_000}),
        (Phase.EHLO, {"EHLO": b"no SMTP\r\n" * 200_000}),
    ],
)
async def test_endless_replies(trust: Trust, phase: Phase, plain: Mapping[str, bytes]) -> None:
    """Lines and replies without end are not read to their end."""
    failure = await fail(SmtpHost(plain=plain), trust)
    assert (failure.phase, failure.kind) == (phase, FailureKind.NO_SMTP)


async def test_injection_before_tls(credential: Credential, trust: Trust) -> None:
    """Text that follows the reply to STARTTLS is not taken for a reply in TLS."""
    injected = b"220 go ahead\r\n250-injected\r\n250 STARTTLS\r\n"
    async with SmtpHost(credential, plain={"STARTTLS": injected}) as host:
        result = await ask(host, trust)
    assert result.failure is None
    assert result.steps[-1].text == "250-mx.test 250 PIPELINING"


async def test_refused(trust: Trust) -> None:
    """A port where nobody listens refuses the connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    target = ProbeTarget(host="mx.test", address="127.0.0.1", port=port)
    result = await probe(target, trust, ehlo="client.test", timeout=PATIENCE)
    assert result == ProbeResult(
        target=target,
        steps=(),
        failure=SmtpFailure(
            phase=Phase.CONNECT, kind=FailureKind.REFUSED, reason="Connection refused"
        ),
    )


async def test_no_way_there(trust: Trust) -> None:
    """An address to which the system does not connect is not the host's fault."""
    target = ProbeTarget(host="mx.test", address="255.255.255.255")
    result = await probe(target, trust, ehlo="client.test", timeout=PATIENCE)
    assert result.failure
    assert (result.failure.phase, result.failure.kind) == (Phase.CONNECT, FailureKind.UNREACHABLE)
    assert result.failure.reason in {"Network is unreachable", "Permission denied"}


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ECONNREFUSED, FailureKind.REFUSED),
        (errno.ETIMEDOUT, FailureKind.TIMEOUT),
        (errno.ECONNRESET, FailureKind.CLOSED),
        (errno.EPIPE, FailureKind.CLOSED),
        (errno.ENETUNREACH, FailureKind.UNREACHABLE),
        (errno.EHOSTUNREACH, FailureKind.UNREACHABLE),
        (errno.EACCES, FailureKind.UNREACHABLE),
        (errno.EPERM, FailureKind.UNREACHABLE),
        (errno.EAFNOSUPPORT, FailureKind.UNREACHABLE),
        (errno.EADDRNOTAVAIL, FailureKind.UNREACHABLE),
        (errno.EMFILE, FailureKind.UNREACHABLE),
    ],
)
def test_errors_of_the_system(number: int, kind: FailureKind) -> None:
    """Faults of the other side are told from those of this machine, in the system's words."""
    error = from_system(OSError(number, "Connect call failed ('192.0.2.1', 25)"))
    assert (error.kind, error.reason) == (kind, os.strerror(number))


def test_an_error_without_number() -> None:
    """An error that says nothing is a lost connection."""
    assert from_system(OSError()).kind is FailureKind.CLOSED
