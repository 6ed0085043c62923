"""Probe addresses of MX hosts: connect, talk as far as a mail client does before a message, leave.

One connection for each address, no second try, and nothing raised for what the other side does.
"""

import asyncio
import math
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from postfix_mta_sts.network.smtp.conversation import Conversation, OnStep, Record
from postfix_mta_sts.network.smtp.failures import ConversationError, from_system
from postfix_mta_sts.network.smtp.tls import Trust
from postfix_mta_sts.network.smtp.values import FailureKind, ProbeResult, ProbeTarget
from postfix_mta_sts.network.stream import Stream, open_stream

MAX_AT_ONCE: Final = 20
"""Connections of `probe_all` at a time; usual domains have fewer addresses."""
MAX_GOODBYE: Final = 2.0
"""Seconds that a host has for its reply to QUIT, which changes nothing."""


async def probe(
    target: ProbeTarget,
    trust: Trust,
    *,
    ehlo: str,
    timeout: float,  # noqa: ASYNC109 (it becomes a failure, not an exception)
    on_step: OnStep | None = None,
    clock: Callable[[], float] = time.time,
) -> ProbeResult:
    """Talk to one address for at most `timeout` seconds.

    `ehlo` is the name of this client; `on_step` is called with each step that is finished.
    """
    monotonic = asyncio.get_running_loop().time
    record = Record(target, monotonic, on_step)
    if timeout > 0:
        await _probe(record, trust, ehlo, monotonic() + timeout, clock)
    else:
        record.fail(ConversationError(FailureKind.TIMEOUT, "no time was left to connect"))
    return record.result()


async def probe_all(
    targets: Sequence[ProbeTarget],
    trust: Trust,
    *,
    ehlo: str,
    deadline: float,
    on_result: Callable[[ProbeResult], None] | None = None,
) -> tuple[ProbeResult, ...]:
    """Probe all addresses within `deadline` seconds; return the results in their order.

    `MAX_AT_ONCE` are probed at a time. If there are more, each has its share of the time, so that
    silent hosts do not take that of others. Cancellation closes all connections at once.
    """
    monotonic = asyncio.get_running_loop().time
    end = monotonic() + deadline
    share = deadline / max(1, math.ceil(len(targets) / MAX_AT_ONCE))
    places = asyncio.Semaphore(MAX_AT_ONCE)

    async def probe_in_turn(target: ProbeTarget) -> ProbeResult:
        async with places:
            timeout = min(share, end - monotonic())
            result = await probe(target, trust, ehlo=ehlo, timeout=timeout)
        if on_result:
            on_result(result)
        return result

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(probe_in_turn(target)) for target in targets]
    return tuple(task.result() for task in tasks)


async def _probe(
    record: Record, trust: Trust, ehlo: str, end: float, clock: Callable[[], float]
) -> None:
    try:
        async with asyncio.timeout_at(end):
            stream = await _connect(record.target)
    except OSError as error:
        record.fail(_connect_error(error))
        return
    try:
        record.finish(f"connected to {record.target.address}, port {record.target.port}")
        conversation = Conversation(stream, trust, ehlo, record, clock)
        await _talk(conversation, record, end)
        await _say_goodbye(conversation, end)
    finally:
        stream.abort()


async def _talk(conversation: Conversation, record: Record, end: float) -> None:
    try:
        async with asyncio.timeout_at(end):
            await conversation.talk()
    except ConversationError as error:
        record.fail(error)
    except TimeoutError:
        record.fail(_timeout(conversation.unexpected))
    except OSError as error:
        record.fail(from_system(error))


async def _say_goodbye(conversation: Conversation, end: float) -> None:
    until = min(end, asyncio.get_running_loop().time() + MAX_GOODBYE)
    with suppress(TimeoutError):
        async with asyncio.timeout_at(until):
            await conversation.say_goodbye()


async def _connect(target: ProbeTarget) -> Stream:
    family = socket.AF_INET6 if ":" in target.address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)  # noqa: FBT003 (the method's own form)
        await asyncio.get_running_loop().sock_connect(sock, (target.address, target.port))
        return await open_stream(sock)
    except BaseException:
        sock.close()
        raise


def _connect_error(error: OSError) -> ConversationError:
    if isinstance(error, TimeoutError):
        return ConversationError(FailureKind.TIMEOUT, "Connection timed out")
    return from_system(error)


def _timeout(unexpected: str | None) -> ConversationError:
    if unexpected:
        return ConversationError(FailureKind.NO_SMTP, f"no reply after {unexpected!r}")
    return ConversationError(FailureKind.TIMEOUT, "conversation timed out")
