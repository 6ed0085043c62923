"""Look-ups are counted at once, and reported behind the reply, within limits."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from postfix_mta_sts.mtasts.domain import Domain, parse_domain
from postfix_mta_sts.mtasts.errors import NoRecordError, ResultType
from postfix_mta_sts.mtasts.session_failure import PolicyType, SessionFailure
from postfix_mta_sts.mtasts.tlsrpt_record import FoundTlsrpt, parse_tlsrpt
from postfix_mta_sts.postfix.protocol.tlsrpt import LIMIT
from postfix_mta_sts.postfix.tlsrpt import reporter as reporter_module
from postfix_mta_sts.postfix.tlsrpt.collector import Collector
from postfix_mta_sts.postfix.tlsrpt.records import TlsrptRecords
from postfix_mta_sts.postfix.tlsrpt.reporter import Reporter
from postfix_mta_sts.runtime import background_task
from postfix_mta_sts.stats import Counters
from postfix_mta_sts.stats.labels import TlsrptResult
from tests.support.collectors import listening
from tests.support.daemons import TIMEOUT

GOOD, OTHER = parse_domain("good.test"), parse_domain("other.test")
FAILED = SessionFailure(PolicyType.STS, ResultType.FETCH_ERROR, "status 404")
INVALID = SessionFailure(PolicyType.STS, ResultType.POLICY_INVALID, "no mode")
SENT, LEFT_OUT = TlsrptResult.SENT, TlsrptResult.LEFT_OUT


class Reports:
    """A reporter, the records that it finds, and the collector's socket."""

    def __init__(self, folder: Path, *, wanted: bool = True) -> None:
        self.path = folder / "collector"
        self.texts = {GOOD: "v=TLSRPTv1; rua=mailto:tlsrpt@good.test"}
        self.faults: list[Exception] = []
        self.counters = Counters()
        collector = Collector(self.path if wanted else None, self.counters, lambda: 0.0)
        self.reporter = Reporter(TlsrptRecords(self._find, lambda: 0.0), collector, self.counters)

    @asynccontextmanager
    async def collecting(self) -> AsyncIterator[None]:
        """Run both ends."""
        with listening(self.path) as self._sock:
            async with background_task(self.reporter.run(), "reporter"):
                yield

    async def collected(self, number: int) -> list[tuple[str, str]]:
        """Domain and reason of this many datagrams."""
        loop = asyncio.get_running_loop()
        found = []
        async with asyncio.timeout(TIMEOUT):
            for _ in range(number):
                content = json.loads(await loop.sock_recv(self._sock, 2 * LIMIT))
                (details,) = content["policies"][0]["failure-details"]
                found.append((content["d"], details["f"]))
        return sorted(found)

    async def _find(self, domain: Domain) -> FoundTlsrpt:
        if self.faults:
            raise self.faults.pop()
        if domain not in self.texts:
            raise NoRecordError("NXDOMAIN")
        return FoundTlsrpt(parse_tlsrpt([self.texts[domain].encode()]), 300)


async def test_look_ups_that_failed(tmp_path: Path) -> None:
    """Each is one datagram; those of a domain with another failure are told apart."""
    reports = Reports(tmp_path)
    async with reports.collecting():
        reports.reporter.note(GOOD, FAILED)
        reports.reporter.note(GOOD, INVALID, 2)
        assert await reports.collected(3) == [
            ("good.test", "no mode"),
            ("good.test", "no mode"),
            ("good.test", "status 404"),
        ]


async def test_a_domain_that_wants_no_reports(tmp_path: Path) -> None:
    """Nothing is sent for it, and the next domain does not wait."""
    reports = Reports(tmp_path)
    async with reports.collecting():
        reports.reporter.note(OTHER, FAILED, 5)
        reports.reporter.note(GOOD, FAILED)
        assert await reports.collected(1) == [("good.test", "status 404")]
    assert reports.counters.tlsrpt[SENT] == 1


async def test_more_than_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Domains and look-ups of one domain are limited; the rest is counted."""
    monkeypatch.setattr(reporter_module, "DOMAINS_LIMIT", 1)
    monkeypatch.setattr(reporter_module, "SESSIONS_LIMIT", 4)
    reports = Reports(tmp_path)
    reports.reporter.note(GOOD, FAILED, 3)
    reports.reporter.note(OTHER, FAILED, 2)
    reports.reporter.note(GOOD, INVALID, 3)
    reports.reporter.note(GOOD, INVALID)
    assert reports.counters.tlsrpt == {LEFT_OUT: 2 + 2 + 1}
    async with reports.collecting():
        assert len(await reports.collected(4)) == 4


async def test_a_record_that_is_too_long(tmp_path: Path) -> None:
    """Its datagram would be, too."""
    reports = Reports(tmp_path)
    reports.texts[OTHER] = "v=TLSRPTv1; rua=mailto:tlsrpt@good.test; x=" + "y" * LIMIT
    async with reports.collecting():
        reports.reporter.note(OTHER, FAILED, 2)
        reports.reporter.note(GOOD, FAILED)
        assert await reports.collected(1) == [("good.test", "status 404")]
    assert reports.counters.tlsrpt[LEFT_OUT] == 2


async def test_off(tmp_path: Path) -> None:
    """Without a collector nothing is kept; and a reload that takes it away drops what waits."""
    reports = Reports(tmp_path, wanted=False)
    reports.reporter.note(GOOD, FAILED)
    reports.reporter.reconfigure(reports.path)
    reports.reporter.note(GOOD, INVALID)
    reports.reporter.reconfigure(None)
    reports.reporter.reconfigure(reports.path)
    reports.reporter.note(GOOD, FAILED)
    async with reports.collecting():
        assert await reports.collected(1) == [("good.test", "status 404")]
    assert reports.counters.tlsrpt[SENT] == 1


async def test_a_fault_of_this_program(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the next look-up is reported."""
    reports = Reports(tmp_path)
    reports.faults = [LookupError("a bug")]
    async with reports.collecting():
        reports.reporter.note(OTHER, FAILED)
        reports.reporter.note(GOOD, FAILED)
        assert await reports.collected(1) == [("good.test", "status 404")]
    assert [each.levelno for each in caplog.records] == [logging.ERROR]
