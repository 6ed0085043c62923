"""The whole daemon tells the collector of TLS reports of policies that could not be had."""

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.collectors import listening
from tests.support.daemons import NOT_FOUND, daemon, reloading, secure
from tests.support.dns import Records
from tests.support.internet import Internet
from tests.support.policy_host import ok, reply

both_loops = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])
RECORD = "v=TLSRPTv1; rua=mailto:tls@bad.test"


class CollectorSocket:
    """The collector's end."""

    def __init__(self, path: Path, sock: socket.socket) -> None:
        self.changes = {"tlsrpt": {"socket": str(path)}}
        self._sock = sock

    async def next(self) -> dict[str, Any]:
        """The next datagram."""
        loop = asyncio.get_running_loop()
        content: dict[str, Any] = json.loads(await loop.sock_recv(self._sock, 65_536))
        return content


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[CollectorSocket]:
    """The collector."""
    path = tmp_path / "collector"
    with listening(path) as sock:
        yield CollectorSocket(path, sock)


@pytest.fixture
def bad(net: Internet) -> str:
    """A domain that wants reports, and whose Policy Host has no policy."""
    net.publish("bad.test", reply(404))
    net.dns.zone["_smtp._tls.bad.test TXT"] = Records([f'"{RECORD}"'], 300)
    return "bad.test"


@both_loops
async def test_a_policy_that_is_not_there(
    net: Internet, tmp_path: Path, collector: CollectorSocket, bad: str
) -> None:
    """One datagram for the look-up, with reason and URL; none for a domain that is well."""
    async with daemon(net, tmp_path, changes=collector.changes) as running:
        assert await running.ask("good.test") == secure("good.test")
        assert await running.ask(bad) == NOT_FOUND
        told = await collector.next()
    assert (told["d"], told["pr"]) == (bad, RECORD)
    (policy,) = told["policies"]
    (details,) = policy["failure-details"]
    assert (policy["policy-type"], policy["policy-domain"], details["c"]) == (2, bad, 301)
    assert details["a"] == "https://mta-sts.bad.test/.well-known/mta-sts.txt"
    assert "404" in details["f"]
    assert net.dns.queries["_smtp._tls.bad.test", "TXT"] == 1
    assert net.dns.queries["_smtp._tls.good.test", "TXT"] == 0


async def test_another_reason(net: Internet, tmp_path: Path, collector: CollectorSocket) -> None:
    """The result type is that of the failure."""
    net.publish("bad.test", ok(b"version: STSv1\n"))
    net.dns.zone["_smtp._tls.bad.test TXT"] = Records([f'"{RECORD}"'], 300)
    async with daemon(net, tmp_path, changes=collector.changes) as running:
        assert await running.ask("bad.test") == NOT_FOUND
        told = await collector.next()
    assert told["policies"][0]["failure-details"][0]["c"] == 302


async def test_off(net: Internet, tmp_path: Path, bad: str) -> None:
    """Without the setting no TLSRPT record is asked for."""
    async with daemon(net, tmp_path) as running:
        assert await running.ask(bad) == NOT_FOUND
        assert await running.ask("good.test") == secure("good.test")
    assert net.dns.queries["_smtp._tls.bad.test", "TXT"] == 0


async def test_a_reload_switches_it_on(
    net: Internet, tmp_path: Path, collector: CollectorSocket, bad: str
) -> None:
    """Look-ups are told from then on."""
    async with reloading(net, tmp_path) as (running, served):
        assert await running.ask(bad) == NOT_FOUND
        await served.reload(net.settings(tmp_path, collector.changes))
        assert await running.ask(bad) == NOT_FOUND
        assert await running.ask(bad) == NOT_FOUND
        await served.snapshot()  # counts the uses of cached replies
        assert [(await collector.next())["d"] for _ in range(2)] == [bad] * 2
