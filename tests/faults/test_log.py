"""The log stands still, fails or is flooded, and everything else works (faults B1 and B9).

The daemon is a process whose standard error is a pipe of 4 KiB, or a device that is always full.
"""

import asyncio
import json
import os
import re
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.clients import connected, request
from tests.support.daemons import TIMEOUT, Process, process, secure
from tests.support.dns import Fault
from tests.support.http import exchange
from tests.support.internet import Changes, Internet
from tests.support.pipes import SIZE, Pipe, pipe
from tests.support.policy_host import ok

KEYS = 10_000
"""Look-ups that are logged at level debug, in more bytes than may wait for the reader."""
DEBUG: Changes = {"log": {"level": "debug"}}


@pytest.fixture
def unread() -> Iterator[Pipe]:
    """A pipe that nobody reads."""
    with pipe() as made:
        yield made


@asynccontextmanager
async def logging_to(
    descriptor: int, net: Internet, folder: Path, changes: Changes
) -> AsyncIterator[Process]:
    """Run a daemon that logs to a descriptor, and has metrics."""
    with_metrics = {"metrics": {"listen": f"unix:{folder / 'metrics'}"}, **changes}
    async with process(folder, net.config(folder, with_metrics)) as served:
        served.stderr = descriptor
        await served.start()
        yield served


async def flood(served: Process, number: int = KEYS) -> None:
    """Ask for as many keys of one domain, each of which is logged at level debug."""
    async with asyncio.timeout(TIMEOUT), connected(served.socketmap) as client:
        for first in range(0, number, 100):
            client.send(b"".join(request(f"good.test:{n}") for n in range(first, first + 100)))
            for _ in range(100):
                assert await client.netstring() == secure("good.test")


async def check_all_works(served: Process, net: Internet) -> None:
    """Known and new domains are answered, and so is the health check."""
    assert await served.ask("good.test") == secure("good.test")
    net.publish("new.test")
    assert await served.ask("new.test") == secure("new.test")
    assert await served.ask("absent.test") == b"NOTFOUND "
    assert (await exchange(served.folder / "metrics", "GET /healthz")).status == 200


async def dropped(served: Process) -> dict[str, int]:
    """The metric of the lines that are missing, by kind."""
    body = (await exchange(served.folder / "metrics", "GET /metrics")).body.decode()
    found = re.findall(
        r'^postfix_mta_sts_log_lines_dropped_total\{kind="(\w+)"\} (\S+)', body, re.MULTILINE
    )
    return {kind: int(float(count)) for kind, count in found}


class TestNobodyReads:
    """Standard error is a pipe that nobody reads."""

    async def test_everything_else_works(self, net: Internet, tmp_path: Path, unread: Pipe) -> None:
        """Look-ups and health are answered however much there is to log; SIGTERM ends it."""
        async with logging_to(unread.writer, net, tmp_path, DEBUG) as served:
            await flood(served)
            await check_all_works(served, net)
            assert (await dropped(served))["unwritten"] > 0
            assert await served.stop() == 0

    async def test_the_count_is_told_when_there_is_room(
        self, net: Internet, tmp_path: Path, unread: Pipe
    ) -> None:
        """Every line is either written whole or counted, and the log says how many are missing."""
        async with logging_to(unread.writer, net, tmp_path, DEBUG) as served:
            await flood(served)
            text = await unread.read_until(" log lines dropped count=")
            count = int(re.findall(r"log lines dropped count=(\d+)\n", text)[0])
            assert (await dropped(served))["unwritten"] == count
            assert await served.ask("last.test") == b"NOTFOUND "
            await unread.read_until(" last.test: look-up map=postfix ")
            assert await served.stop() == 0
        lines = unread.read_rest().splitlines()
        assert sum(" good.test: look-up map=postfix " in line for line in lines) + count >= KEYS
        assert all(re.match(r"\S+ (DEBUG|INFO|WARNING) \S+", line) for line in lines)

    async def test_reload(self, net: Internet, tmp_path: Path, unread: Pipe) -> None:
        """A reload changes the form of the lines that follow; those that wait are not lost."""
        async with logging_to(unread.writer, net, tmp_path, DEBUG) as served:
            await flood(served, 1_000)
            net.config(tmp_path, {"log": {"level": "info", "format": "json"}})
            served.signal(signal.SIGHUP)
            assert (await served.notified()).startswith(b"RELOADING=1")
            assert (await served.notified()).startswith(b"READY=1")
            text = await unread.read_until('"event": "reloaded"')
            assert await served.stop() == 0
        assert text.count(" good.test: look-up map=postfix ") == 1_000

    async def test_the_network_process_goes_on(
        self, net: Internet, tmp_path: Path, unread: Pipe
    ) -> None:
        """The pipe is full when the network process has something to say: it works all the same."""
        async with logging_to(unread.writer, net, tmp_path, {}) as served:
            assert await served.ask("good.test") == secure("good.test")
            unread.fill()
            net.dns.default = Fault.SERVFAIL
            for number in range(25):  # 20 failures in a row are a line of the network process
                assert await served.ask(f"failing{number}.test") == b"NOTFOUND "
            net.dns.default = Fault.NXDOMAIN
            await check_all_works(served, net)
            assert await served.stop() == 0

    async def test_a_pipe_that_somebody_made_non_blocking(
        self, net: Internet, tmp_path: Path, unread: Pipe
    ) -> None:
        """All processes with the pipe share O_NONBLOCK: the lines wait, and none is lost."""
        async with logging_to(unread.writer, net, tmp_path, DEBUG) as served:
            os.set_blocking(unread.writer, False)
            await flood(served, 1_000)
            assert (await dropped(served))["unwritten"] == 0
            assert await served.ask("last.test") == b"NOTFOUND "
            text = await unread.read_until(" last.test: look-up map=postfix ")
            assert await served.stop() == 0
        assert text.count(" good.test: look-up map=postfix ") == 1_000


class TestNobodyCanRead:
    """Standard error cannot be written."""

    async def test_a_closed_pipe(self, net: Internet, tmp_path: Path, unread: Pipe) -> None:
        """The reader has ended: the daemon goes on without a log."""
        async with logging_to(unread.writer, net, tmp_path, {}) as served:
            unread.close_reader()
            await check_all_works(served, net)
            assert await served.stop() == 0

    async def test_a_full_disk(self, net: Internet, tmp_path: Path) -> None:
        """No byte can be written: the daemon goes on without a log, and counts."""
        full = os.open("/dev/full", os.O_WRONLY)
        try:
            async with logging_to(full, net, tmp_path, {}) as served:
                await check_all_works(served, net)
                assert (await dropped(served))["unwritten"] > 0
                assert await served.stop() == 0
        finally:
            os.close(full)


class TestFlood:
    """Domains and clients cause more events than an administrator can read."""

    @pytest.mark.parametrize("form", ["text", "json"])
    async def test_events_of_many_domains(self, net: Internet, tmp_path: Path, form: str) -> None:
        """The first are logged, the others counted; what a warning says is never left out."""
        async with process(tmp_path, net.config(tmp_path, {"log": {"format": form}})) as served:
            await served.start()
            async with asyncio.timeout(TIMEOUT), connected(served.socketmap) as client:
                for number in range(300):
                    net.record(f"hostile{number}.test", "v=STSv1; id=" + "x" * 150)
                    client.send(request(f"hostile{number}.test"))
                assert [await client.netstring() for _ in range(300)] == [b"NOTFOUND "] * 300
            assert await served.stop() == 0
        lines = served.log.splitlines()
        shown = sum("no policy" in line and "hostile" in line for line in lines)
        (told,) = [line for line in lines if "log lines left out" in line]
        found = re.search(r"count=(\d+)", told) if form == "text" else None
        count = int(found[1]) if found else json.loads(told)["count"]
        assert 10 < shown < 100
        assert shown + count == 300
        assert len(served.log) < 16 * 1024

    async def test_a_policy_with_many_patterns(self, net: Internet, tmp_path: Path) -> None:
        """Each line of a policy with the most patterns that are possible is shorter than 4 KiB."""
        hosts = [f"{'a' * 63}.{'b' * 63}.{'c' * 60}.host{number}.test" for number in range(150)]
        text = "".join(f"mx: {host}\n" for host in hosts)
        body = f"version: STSv1\nmode: testing\nmax_age: 604800\n{text}".encode()
        net.publish("many.test", ok(body))
        async with process(tmp_path, net.config(tmp_path)) as served:
            await served.start()
            assert await served.ask("many.test") == b"NOTFOUND "
            assert await served.stop() == 0
        (line,) = [line for line in served.log.splitlines() if "policy fetched" in line]
        assert len(line) < SIZE
        assert "[+140]" in line
