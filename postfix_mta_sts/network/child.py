"""The network process: DNS, HTTPS and DANE look-ups for the daemon, with one set of settings.

It starts, and `call_runner` answers the calls that arrive over one socket; `process` is the other
end. It ends when that socket closes, and not by the signals that systemd sends to all processes of
a service, which `launch` has blocked: there is work to do until the daemon ends.
"""

import asyncio
import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from postfix_mta_sts import __version__, logs, runtime
from postfix_mta_sts.network import ipc
from postfix_mta_sts.network.authorities import Authorities
from postfix_mta_sts.network.call_runner import CallRunner
from postfix_mta_sts.network.clients import LazyDaneClient, open_clients
from postfix_mta_sts.network.messages import (
    EventLoop,
    Hello,
    Start,
    decode_from_daemon,
)
from postfix_mta_sts.network.sandbox.confine import Sandbox, confine
from postfix_mta_sts.network.settings import NetworkSettings
from postfix_mta_sts.network.shared_store import SharedStore

OOM_SCORE: Final = 500
"""Added to oom_score_adj: half of the memory of the machine, or of the service, in its scale."""


class OtherVersionError(Exception):
    """The daemon has another version; the text is that version, or `unknown`."""


def main(descriptor: int) -> None:
    """Run the network process until the daemon closes the inherited socket."""
    raise_oom_score(OOM_SCORE)
    sock = socket.socket(fileno=descriptor)
    try:
        start = shake_hands(sock)
    except (EOFError, ConnectionError):
        return
    except OtherVersionError:
        sys.exit(1)  # the daemon has this version too, and logs both
    loop_factory = _loop_factory(start.loop)  # imports, so it precedes the rest
    # Before any thread, that of the log included: one that runs already would stay outside.
    sandbox = confine(start.settings)
    level, form = start.settings.log_level, start.settings.log_format
    to_journal = logs.to_journal(os.environ, sys.stderr)
    logs.set_up_service(level, form, sys.stderr, journal=to_journal)
    logs.log_uncaught()
    runtime.set_up()
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(_serve(sock, start.settings, sandbox))


def raise_oom_score(by: int, file: Path = Path("/proc/self/oom_score_adj")) -> None:
    """Let the kernel kill this process rather than the daemon when memory runs out (proc(5)).

    That costs a second of new look-ups. A sandbox may forbid it; then nothing changes.
    """
    with suppress(OSError, ValueError):
        file.write_text(str(min(int(file.read_text()) + by, 1000)))


def shake_hands(sock: socket.socket) -> Start:
    """Exchange versions with the daemon, then wait for its settings.

    Raises `OtherVersionError`; `EOFError` or `ConnectionError` if the daemon is gone.
    """
    hello = ipc.receive(sock)
    ipc.send(sock, Hello(__version__))
    if (version := _version(hello)) != __version__:
        raise OtherVersionError(version)
    match decode_from_daemon(ipc.receive(sock)):
        case [Start() as start]:
            return start
    raise TypeError("the second message is not Start")


def _version(hello: bytes) -> str:
    with suppress(ValueError):
        match decode_from_daemon(hello):
            case [Hello(version)]:
                return version
    return "unknown"


def _loop_factory(library: EventLoop) -> Callable[[], asyncio.AbstractEventLoop]:
    if library == "asyncio":
        return asyncio.new_event_loop
    import uvloop  # noqa: PLC0415 (tests and `query` do without)

    return uvloop.new_event_loop


async def _serve(sock: socket.socket, settings: NetworkSettings, sandbox: Sandbox) -> None:
    async with open_clients(settings) as (dns, fetcher):
        authorities = Authorities(settings, fetcher, sandbox.replaced)
        shared_store = SharedStore(settings.fleet)
        dane_client = LazyDaneClient(settings)
        child = CallRunner(dns, fetcher, dane_client, authorities, shared_store, sandbox)
        await child.run(sock)
