"""The collector from PyPI takes what the daemon sends: its own programs say what it has counted.

tlsrpt-reporter is run, and never imported: its licence is the GPL.
"""

import asyncio
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.mtasts.errors import ResultType
from postfix_mta_sts.mtasts.session_failure import PolicyType, SessionFailure
from postfix_mta_sts.postfix.protocol.tlsrpt import datagram
from postfix_mta_sts.postfix.tlsrpt.collector import Collector
from postfix_mta_sts.stats import Counters
from postfix_mta_sts.stats.labels import TlsrptResult
from tests.support.daemons import TIMEOUT

PROGRAMS: Final = Path(sys.executable).parent
GOOD: Final = parse_domain("good.test")
RECORD: Final = "v=TLSRPTv1; rua=mailto:tlsrpt@good.test,https://reports.good.test/"
URL: Final = "https://mta-sts.good.test/.well-known/mta-sts.txt"
CODES: Final = {
    ResultType.FETCH_ERROR: 301,
    ResultType.POLICY_INVALID: 302,
    ResultType.WEBPKI_INVALID: 303,
    ResultType.DNSSEC_INVALID: 305,
}


@asynccontextmanager
async def collecting(folder: Path) -> AsyncIterator[Path]:
    """Run tlsrpt-collectd; its socket."""
    sock = folder / "collector"
    options = {
        "storage": f"sqlite:///{folder}/today",
        "socketname": str(sock),
        "max_uncommited_datagrams": "1",
        "dump_path_for_invalid_datagram": str(folder / "invalid"),
    }
    words = [word for key, value in options.items() for word in (f"--{key}", value)]
    with (folder / "log").open("w") as log:
        collector = await asyncio.create_subprocess_exec(
            PROGRAMS / "tlsrpt-collectd", *words, stdout=log, stderr=log
        )
        try:
            async with asyncio.timeout(TIMEOUT):
                while not sock.exists():  # noqa: ASYNC110 (no event)
                    await asyncio.sleep(0.05)
            yield sock
        finally:
            collector.send_signal(signal.SIGTERM)
            await collector.wait()


def counted(folder: Path) -> Mapping[int, Any]:
    """What tlsrpt-fetcher tells of this day, which must be over for it: so it gets a copy."""
    if not (folder / "today").exists():
        return {}
    (folder / "copy").mkdir(exist_ok=True)
    shutil.copy(folder / "today", folder / "copy/today.yesterday")
    today = datetime.now(UTC).date().isoformat()
    done = subprocess.run(
        [PROGRAMS / "tlsrpt-fetcher", "--storage", f"sqlite:///{folder}/copy/today", today, GOOD],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
    )
    if done.returncode:  # the copy was made too early
        return {}
    policies: Mapping[str, Any] = json.loads(done.stdout)["policies"].get(RECORD, {})
    return {json.loads(policy)["policy-type"]: each for policy, each in policies.items()}


async def all_counted(folder: Path, sessions: int) -> Mapping[int, Any]:
    """The same, when the collector has read all."""
    async with asyncio.timeout(TIMEOUT):
        while True:
            found = await asyncio.to_thread(counted, folder)
            if sum(each["cntrtotal"] for each in found.values()) >= sessions:
                return found
            await asyncio.sleep(0.1)


async def test_all_kinds(tmp_path: Path) -> None:
    """Each failure is counted under the code of its result type, with URL and reason."""
    counters = Counters()
    failures = {
        result: SessionFailure(
            PolicyType.TLSA if result is ResultType.DNSSEC_INVALID else PolicyType.STS,
            result,
            f'because "{result}"',
        )
        for result in ResultType
    }
    async with collecting(tmp_path) as sock:
        collector = Collector(sock, counters, lambda: 0.0, TIMEOUT)
        for number, failure in enumerate(failures.values(), 1):
            encoded = datagram(GOOD, RECORD, failure)
            assert encoded
            await collector.send(encoded, number)
        found = await all_counted(tmp_path, 1 + 2 + 3 + 4)
    assert counters.tlsrpt == {TlsrptResult.SENT: 1 + 2 + 3 + 4}
    assert {kind: each["cntrtotal"] for kind, each in found.items()} == {2: 6, 1: 4}
    assert all(each["cntrtotal"] == each["cntrfailure"] for each in found.values())
    told = {
        json.loads(details)["c"]: (json.loads(details), count)
        for policy in found.values()
        for details, count in policy["failures"].items()
    }
    for number, (result, failure) in enumerate(failures.items(), 1):
        url = {"a": URL} if failure.policy_type is PolicyType.STS else {}
        assert told[CODES[result]] == ({"c": CODES[result], "f": failure.reason, **url}, number)
    assert not (tmp_path / "invalid").exists()
    assert "ERROR" not in (tmp_path / "log").read_text()
