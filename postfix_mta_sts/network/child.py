"""The process that goes out: DNS, HTTPS and DANE on the terms of one generation of settings.

Border: it does what it is told over one socket (`process` is the other end), and knows nothing of
what comes of that. It ends when that socket does, and for no signal: systemd sends those to all
processes of a service, and there is work to do until the first of them is done.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from postfix_mta_sts import logs, runtime
from postfix_mta_sts.config.field_types import TcpAddress
from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts.errors import MtaStsError, OwnFaultError
from postfix_mta_sts.network import ipc
from postfix_mta_sts.network.clients import LazyDaneClient
from postfix_mta_sts.network.dns import DnsClient
from postfix_mta_sts.network.https import PolicyFetcher
from postfix_mta_sts.network.ipc import Channel, Message
from postfix_mta_sts.network.outside import network
from postfix_mta_sts.network.settings import NetworkSettings

TIDIED_AFTER: Final = 1_000
"""Calls after which memory that became free is given back."""

_log = logging.getLogger(__name__)


def main(descriptor: int) -> None:
    """Be this process, to its end; the socket is inherited."""
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    sock = socket.socket(fileno=descriptor)
    try:
        loop_factory, terms = ipc.first(sock)
    except EOFError:
        return
    journal = logs.to_journal(os.environ, sys.stderr)
    logs.set_up(terms.log_level, terms.log_format, sys.stderr, journal=journal)
    runtime.set_up()
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(_serve(sock, terms))


async def _serve(sock: socket.socket, terms: NetworkSettings) -> None:
    async with network(terms) as (dns, fetcher):
        child = _Child(dns, fetcher, LazyDaneClient(terms))
        await child.run(sock)


class _Child:
    def __init__(self, dns: DnsClient, fetcher: PolicyFetcher, dane_client: LazyDaneClient) -> None:
        self._dns = dns
        self._dane_client = dane_client
        self._ways: Mapping[str, Callable[..., Awaitable[object]]] = {
            "discover": dns.discover,
            "fetch": fetcher.fetch,
            "look_up_dane": dane_client.look_up_dane,
            "not_validating": self._not_validating,
        }
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._ended = 0
        self._silent = False
        self._line: Channel

    async def run(self, sock: socket.socket) -> None:
        """Do what is told, until nobody is there to tell."""
        ended = asyncio.Event()
        self._line = await ipc.line(sock, self._hear, ended.set)
        await ended.wait()

    def _hear(self, messages: Sequence[Message]) -> None:
        for number, what, *args in messages:
            if what is not None:
                self._begin(number, what, args)
            elif task := self._tasks.get(number):
                task.cancel()

    def _begin(self, number: int, what: str, args: Sequence[Any]) -> None:
        task = asyncio.create_task(self._do(number, what, args), name=what)
        self._tasks[number] = task
        task.add_done_callback(lambda _: self._end(number))

    def _end(self, number: int) -> None:
        del self._tasks[number]
        self._ended += 1
        if self._ended % TIDIED_AFTER == 0:
            runtime.release_free_memory()

    async def _do(self, number: int, what: str, args: Sequence[Any]) -> None:
        outcome: object
        try:
            outcome = await self._ways[what](*args)
        except MtaStsError as error:
            outcome = error
        except Exception as error:  # noqa: BLE001 (the top of a task: who waits for it is told)
            event(_log, logging.ERROR, "network call broken off", *args, call=what, exc_info=error)
            outcome = OwnFaultError("a fault of this program; see the log")
        if self._silent != self._dns.unanswered:
            self._silent = self._dns.unanswered
            self._note("unanswered", self._silent)
        self._line.send((number, outcome))

    async def _not_validating(self) -> Sequence[TcpAddress]:
        self._note("untrusted", self._dane_client.untrusted)  # for who does not wait for the end
        try:
            return await self._dane_client.not_validating()
        finally:
            self._note("untrusted", self._dane_client.untrusted)

    def _note(self, what: str, value: object) -> None:
        self._line.send((0, (what, value)))
