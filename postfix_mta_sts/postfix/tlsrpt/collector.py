"""Sends datagrams to the collector's UNIX socket, where Postfix writes, too.

The collector reads one after the other, and the kernel keeps few that it has not read
(net.unix.max_dgram_qlen); so the task that sends waits for room, for a moment. Nothing else does.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from postfix_mta_sts.logs import event
from postfix_mta_sts.rate_limit import RateLimit
from postfix_mta_sts.stats import Counters
from postfix_mta_sts.stats.labels import TlsrptResult

PATIENCE: Final = 2.0
"""Seconds that the collector has to take the next datagram."""
SILENCE: Final = 3_600.0
"""Seconds between two lines about a collector that takes none."""

_log = logging.getLogger(__name__)


class Collector:
    """The collector at a path; None: there is none. `monotonic` gives seconds."""

    def __init__(
        self,
        path: Path | None,
        counters: Counters,
        monotonic: Callable[[], float],
        patience: float = PATIENCE,
    ) -> None:
        self._path = path
        self._counters = counters
        self._monotonic = monotonic
        self._patience = patience
        self._failures = RateLimit(SILENCE)
        self._is_failing = False

    @property
    def is_wanted(self) -> bool:
        """Whether there is one."""
        return self._path is not None

    def reconfigure(self, path: Path | None) -> None:
        """Send to another socket from now on."""
        if path != self._path:
            self._path, self._is_failing, self._failures = path, False, RateLimit(SILENCE)

    async def send(self, datagram: bytes, sessions: int) -> None:
        """Send a datagram once for each session; those that are not taken are counted."""
        if self._path is None:
            return
        left = sessions
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.settimeout(0)
            try:
                sock.connect(str(self._path))
                while left:
                    await self._send_one(sock, datagram)
                    left -= 1
                self._note_success()
            except TimeoutError:
                reason = f"it has not read for {self._patience:g} s"
                self._note_failure(TlsrptResult.FULL, left, reason)
            except OSError as error:
                self._note_failure(TlsrptResult.GONE, left, error.strerror or str(error))
        self._counters.tlsrpt[TlsrptResult.SENT] += sessions - left

    async def _send_one(self, sock: socket.socket, datagram: bytes) -> None:
        """Raises `OSError`, and `TimeoutError` if there is no room in time."""
        while True:
            with suppress(BlockingIOError):
                sock.send(datagram)
                return
            async with asyncio.timeout(self._patience):
                await _writable(sock)

    def _note_success(self) -> None:
        if self._is_failing:
            self._is_failing = False
            self._failures = RateLimit(SILENCE)
            event(_log, logging.INFO, "TLS reports are collected again", socket=self._path)

    def _note_failure(self, result: TlsrptResult, lost: int, reason: str) -> None:
        self._counters.tlsrpt[result] += lost
        self._is_failing = True
        if count := self._failures.take(self._monotonic()):
            event(
                _log,
                logging.WARNING,
                "TLS reports are not collected",
                socket=self._path,
                reason=reason,
                count=count,
            )


async def _writable(sock: socket.socket) -> None:
    """Wait until the peer has room, or has gone."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_writer(sock, _resolve, ready)
    try:
        await ready
    finally:
        loop.remove_writer(sock)


def _resolve(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
