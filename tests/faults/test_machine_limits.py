"""Machines with little: no CA certificates, or old ones, few file descriptors, no home."""

import asyncio
import json
import resource
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import pytest

from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.mtasts.errors import CertificateError
from postfix_mta_sts.network import child, dns, https, ipc
from postfix_mta_sts.network.authorities import Authorities
from postfix_mta_sts.network.clients import open_clients
from postfix_mta_sts.network.messages import (
    Discover,
    DiscoverResult,
    FetchPolicy,
    FromChild,
    LookUpDane,
    decode_from_child,
)
from postfix_mta_sts.network.own_limits import MAX_CONNECTIONS, MAX_MORE_HOSTS, Shares, shares
from postfix_mta_sts.network.sandbox.confine import Sandbox
from postfix_mta_sts.network.sandbox.confinement import Confinement
from postfix_mta_sts.network.sandbox.paths import Watched
from postfix_mta_sts.network.settings import NetworkSettings
from tests.support.daemons import TIMEOUT, process, until
from tests.support.http import exchange
from tests.support.internet import Changes, Internet
from tests.support.tls import Authority


async def until_ready(folder: Path, status: int) -> bytes:
    """Wait until /readyz has this status; return its body."""
    async with asyncio.timeout(TIMEOUT):
        while (response := await exchange(folder / "metrics", "GET /readyz")).status != status:  # noqa: ASYNC110 (no event)
            await asyncio.sleep(0.01)
    return response.body


class TestCaCertificates:
    """D5: a machine without CA certificates, and certificates that are renewed on disk."""

    @pytest.fixture
    def bundle(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Where the system has its certificates: there are none yet."""
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "bundle.pem"))
        monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "no-folder"))
        return tmp_path / "bundle.pem"

    async def test_none(self, net: Internet, tmp_path: Path, bundle: Path) -> None:
        """A warning says what to install, /readyz is 503; both end once a bundle is there."""
        changes: Changes = {
            "https": {"ca_file": None},
            "metrics": {"listen": f"unix:{tmp_path / 'metrics'}"},
        }
        async with process(tmp_path, net.config(tmp_path, changes)) as served:
            await served.start()
            await until(lambda: "no CA certificates, no policy can be fetched" in served.log)
            [line] = [each for each in served.log.splitlines() if "no CA certificates, " in each]
            assert " WARNING " in line
            assert 'advice="install the package ca-certificates, or set https.ca_file"' in line
            ready = await until_ready(tmp_path, 503)
            says = json.loads(ready)["checks"]["ca_certificates"]["says"]
            assert says.endswith(f"(no CA certificates in {bundle} and {tmp_path / 'no-folder'})")
            assert await served.ask("good.test") == b"NOTFOUND "
            bundle.write_bytes(net.ca_file.read_bytes())
            served.signal(signal.SIGHUP)
            await until(lambda: " reloaded" in served.log)
            await until_ready(tmp_path, 200)

    async def test_a_new_authority(self, net: Internet, tmp_path: Path) -> None:
        """A Policy Host of an authority that came with a new bundle is trusted without a reload."""
        path = tmp_path / "renewed.pem"
        path.write_bytes(Authority("old").certificate)
        settings = NetworkSettings.of(
            net.settings(tmp_path, {"https": {"ca_file": str(path)}}), net.hosts.port
        )
        async with open_clients(settings) as (_, fetcher):
            authorities = Authorities(settings, fetcher)
            with pytest.raises(CertificateError):
                await fetcher.fetch(parse_domain("good.test"))
            path.write_bytes(net.ca_file.read_bytes())
            await asyncio.to_thread(authorities.renew)
            assert (await fetcher.fetch(parse_domain("good.test"))).max_age


def descriptors() -> int:
    """The number of open descriptors of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


@asynccontextmanager
async def serving(
    settings: NetworkSettings,
) -> AsyncIterator[tuple[ipc.Channel[FromChild], asyncio.Queue[int]]]:
    """A network process in this process: its channel, and the numbers of the ids it has found."""
    here, there = socket.socketpair()
    found: asyncio.Queue[int] = asyncio.Queue()

    def receive(messages: Sequence[FromChild]) -> None:
        for message in messages:
            if isinstance(message, DiscoverResult):
                found.put_nowait(message.number)

    channel = await ipc.open_channel(here, decode_from_child, receive, lambda: None)
    sandbox = Sandbox(Confinement(), Watched(()))
    task = asyncio.create_task(child._serve(there, settings, sandbox))
    yield channel, found
    channel.close()
    await task


class TestFewDescriptors:
    """A process that may have few file descriptors."""

    @pytest.mark.parametrize("files", [1, 64, 256, 1_024, 65_536, 2**20])
    def test_shares(self, files: int) -> None:
        """Each part can work, and together they open no more than there are."""
        found = shares(files)
        assert 0 <= found.connections <= MAX_CONNECTIONS
        assert 0 <= found.more_hosts <= MAX_MORE_HOSTS
        assert found.look_ups >= 1
        sockets = 10 * found.look_ups + 4 * found.more_hosts
        assert files < 64 or found.connections + found.connecting + sockets <= files * 15 // 16

    async def test_a_silent_dns(
        self, net: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """However many look-ups wait for it, they leave half of the descriptors to fetches."""
        monkeypatch.setattr(resource, "getrlimit", lambda _: (128, 128))
        net.vanish()
        net.dns.signed.add("test")
        domains = [parse_domain(f"new{number}.test") for number in range(20)]
        for domain in domains:
            net.dns.zone[f"{domain} MX"] = [f"{n} mx{n}.{domain}." for n in range(9)]
        settings = NetworkSettings.of(net.settings(tmp_path, {"dns": {"timeout": "0.5s"}}))
        async with asyncio.timeout(TIMEOUT), serving(settings) as (channel, _):
            most = before = descriptors()
            numbers = count()
            for domain in domains:
                for call in (Discover, LookUpDane, FetchPolicy):
                    channel.send(call(next(numbers), domain))
            while net.dns.queries.total < 150:
                await asyncio.sleep(0.01)
                most = max(most, descriptors())
        assert most - before <= 64

    async def test_queries_wait(
        self, net: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """There are more new domains than descriptors while the DNS is silent: all are answered."""
        domains = [f"new{number}.test" for number in range(12)]
        for domain in domains:
            net.publish(domain)
        monkeypatch.setattr(dns, "own_shares", lambda: Shares(9, 9, 4, 9))
        settings = NetworkSettings.of(net.settings(tmp_path, {"dns": {"timeout": "50s"}}))
        net.dns.hold()
        async with asyncio.timeout(TIMEOUT), serving(settings) as (channel, found):
            for number, domain in enumerate(domains):
                channel.send(Discover(number, parse_domain(domain)))
            await net.dns.queries.reached((f"_mta-sts.{domains[3]}", "TXT"))
            assert [net.queries(domain) for domain in domains[4:]] == [0] * 8
            net.dns.release()
            assert {await found.get() for _ in domains} == set(range(12))

    async def test_addresses_wait(
        self, net: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Fetches wait for each other while the DNS is silent on the addresses of their hosts."""
        monkeypatch.setattr(https, "own_shares", lambda: Shares(9, 9, 1, 9))
        net.publish("other.test")
        settings = NetworkSettings.of(
            net.settings(tmp_path, {"dns": {"timeout": "50s"}}), net.hosts.port
        )
        net.dns.hold()
        async with asyncio.timeout(TIMEOUT), open_clients(settings) as (_, fetcher):
            names = ("good.test", "other.test")
            fetches = [asyncio.create_task(fetcher.fetch(parse_domain(name))) for name in names]
            await net.dns.queries.reached(("mta-sts.good.test", "A"))
            assert net.dns.queries["mta-sts.other.test", "A"] == 0
            net.dns.release()
            policies = await asyncio.gather(*fetches)
        assert [list(each.mx) for each in policies] == [[f"mx1.{name}"] for name in names]


async def test_nothing_but_a_checkout(net: Internet, tmp_path: Path) -> None:
    """`make serve` without a home, CA certificates and root runs, and says what is missing.

    It answers what it can; Postfix must not wait for the rest.
    """
    listen = [{"socketmap": f"unix:{tmp_path / 'socketmap'}", "mode": "0660"}]
    config = tmp_path / "config.yml"
    config.write_text(json.dumps({"listen": listen, "dns": {"nameservers": [net.dns.address]}}))
    nowhere = {"HOME": "/dev/null/home", "XDG_STATE_HOME": "", "SSL_CERT_FILE": "/dev/null"}
    async with process(tmp_path, config) as served:
        await served.start(**nowhere, SSL_CERT_DIR="/dev/null")
        assert await served.ask("none.test") == b"NOTFOUND "
        for event in (
            "no CA certificates, no policy can be fetched",
            "store failing",
            "control socket unavailable",
        ):
            await until(lambda event=event: event in served.log)  # type: ignore[misc] # as it is now
        assert await served.stop() == 0
        assert "Traceback" not in served.log
