"""Reports look-ups whose policy could not be had, if the domain wants reports: behind the reply.

`note` only counts. The task `run` asks for the TLSRPT record of the domain, which most have not,
and sends the collector a datagram for each look-up.
"""

import asyncio
import logging
from collections import Counter
from pathlib import Path
from typing import Final

from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.session_failure import SessionFailure
from postfix_mta_sts.postfix.protocol.tlsrpt import datagram
from postfix_mta_sts.postfix.tlsrpt.collector import Collector
from postfix_mta_sts.postfix.tlsrpt.records import TlsrptRecords
from postfix_mta_sts.stats import Counters
from postfix_mta_sts.stats.labels import TlsrptResult

DOMAINS_LIMIT: Final = 1_000
"""Domains that wait for their TLSRPT record."""
SESSIONS_LIMIT: Final = 1_000
"""Look-ups of one domain that wait; a client can ask for the same name all the time."""
AT_ONCE: Final = 4
"""Domains that are asked for side by side: look-ups of Postfix need the DNS, too."""

_log = logging.getLogger(__name__)


class Reporter:
    """Finds `records`, and sends to the `collector`; start `run` as a task."""

    def __init__(self, records: TlsrptRecords, collector: Collector, counters: Counters) -> None:
        self._records = records
        self._collector = collector
        self._counters = counters
        self._waiting: dict[Domain, Counter[SessionFailure]] = {}
        self._wake = asyncio.Event()

    def reconfigure(self, path: Path | None) -> None:
        """Report to the collector at another path from now on; None: to none."""
        self._collector.reconfigure(path)
        if path is None:
            self._waiting.clear()

    def note(self, domain: Domain, failure: SessionFailure, sessions: int = 1) -> None:
        """Count look-ups that failed so; returns at once."""
        if not self._collector.is_wanted:
            return
        waiting = self._waiting.get(domain)
        if waiting is None and len(self._waiting) < DOMAINS_LIMIT:
            waiting = self._waiting[domain] = Counter()
        room = 0 if waiting is None else SESSIONS_LIMIT - waiting.total()
        taken = min(sessions, room)
        self._counters.tlsrpt[TlsrptResult.LEFT_OUT] += sessions - taken
        if waiting is not None and taken:
            waiting[failure] += taken
            self._wake.set()

    async def run(self) -> None:
        """Report until cancelled."""
        async with asyncio.TaskGroup() as workers:
            for number in range(AT_ONCE):
                workers.create_task(self._work(), name=f"TLS reports {number}")

    async def _work(self) -> None:
        while True:
            while not self._waiting:
                self._wake.clear()
                await self._wake.wait()
            domain = next(iter(self._waiting))
            failures = self._waiting.pop(domain)
            try:
                await self._report(domain, failures)
            except Exception as error:  # noqa: BLE001 (the top of a task: the next one may work)
                event(
                    _log,
                    logging.ERROR,
                    "TLS report failed by an internal error",
                    domain,
                    exc_info=error,
                )

    async def _report(self, domain: Domain, failures: Counter[SessionFailure]) -> None:
        record = await self._records.find(domain)
        if record is None:
            return
        for failure, sessions in failures.items():
            if encoded := datagram(domain, record, failure):
                await self._collector.send(encoded, sessions)
            else:
                self._counters.tlsrpt[TlsrptResult.LEFT_OUT] += sessions
