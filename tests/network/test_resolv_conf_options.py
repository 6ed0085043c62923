"""What the options of resolv.conf change in the queries."""

import asyncio
from pathlib import Path

import pytest

from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.mtasts.errors import DnsFailureError
from postfix_mta_sts.network.dns import DnsClient
from postfix_mta_sts.network.dns_exchange import _socket_address
from postfix_mta_sts.network.dns_query import Manner
from postfix_mta_sts.network.nameservers import READ_AGAIN, Nameservers, longest_patience
from tests.support.dns import DnsServer, Fault
from tests.support.dns_clients import GOOD, QUERY, Clock

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])


class System:
    """A resolv.conf and its client; `server` and others listen on the same port."""

    def __init__(self, folder: Path, server: DnsServer, clock: Clock) -> None:
        self.path = folder / "resolv.conf"
        self._server = server
        self._clock = clock

    def client(self, options: str, *hosts: str, timeout: float = 20.0) -> DnsClient:
        """A client of these servers with these options."""
        self.write(options, *hosts)
        return DnsClient(
            (), timeout, clock=self._clock, resolv_conf=self.path, port=self._server.port
        )

    def write(self, options: str, *hosts: str) -> None:
        """Change the file."""
        servers = "".join(f"nameserver {host}\n" for host in hosts or ("127.0.0.1",))
        self.path.write_text(f"{servers}options {options}\n")


@pytest.fixture
def system(tmp_path: Path, server: DnsServer, clock: Clock) -> System:
    """The system's resolv.conf, which names `server` if a test names no other."""
    return System(tmp_path, server, clock)


async def test_tcp(system: System, server: DnsServer) -> None:
    """With `use-vc` each query goes over TCP."""
    dns = system.client("use-vc")
    assert (await dns.look_up_txt(GOOD)).ttl == 300
    assert (server.queries.total, server.tcp_queries[QUERY]) == (1, 1)


async def test_tcp_later(system: System, server: DnsServer, clock: Clock) -> None:
    """An option that is added later holds within half a minute."""
    dns = system.client("edns0")
    await dns.look_up_txt(GOOD)
    system.write("use-vc")
    clock.now += READ_AGAIN
    await dns.look_up_txt(GOOD)
    assert (server.queries.total, server.tcp_queries.total) == (2, 1)


async def test_rotation(system: System, server: DnsServer) -> None:
    """With `rotate` the servers are asked in turn, without it the first one is."""
    async with DnsServer(server.zone, host="127.0.0.2", port=server.port) as second:
        for options, expected in (("rotate", (3, 3)), ("edns0", (9, 3))):
            dns = system.client(options, "127.0.0.1", "127.0.0.2")
            for _ in range(6):
                await dns.look_up_txt(GOOD)
            assert (server.queries.total, second.queries.total) == expected


@pytest.mark.parametrize(("options", "tries"), [("attempts:1", 1), ("attempts:4", 4)])
async def test_tries(system: System, server: DnsServer, options: str, tries: int) -> None:
    """`attempts` says how often a server gets a query."""
    server.zone[f"{QUERY[0]} TXT"] = Fault.SERVFAIL
    with pytest.raises(DnsFailureError, match="SERVFAIL"):
        await system.client(options).look_up_txt(GOOD)
    assert server.queries.total == tries


async def test_a_single_try(system: System, server: DnsServer) -> None:
    """With `attempts:1` an answer is waited for until `dns.timeout`."""
    server.hold()
    asked = asyncio.create_task(system.client("attempts:1 timeout:1").look_up_txt(GOOD))
    await server.queries.reached(QUERY)
    server.release()
    assert (await asked).ttl == 300


@pytest.mark.parametrize(
    ("options", "servers", "patience"),
    [
        ("edns0", 1, None),
        ("timeout:1", 1, 1),
        ("timeout:3", 2, 3),
        ("timeout:10", 1, 4),
        ("timeout:10", 2, 4),
        ("timeout:10", 3, 2),
    ],
)
async def test_patience(
    system: System, tmp_path: Path, options: str, servers: int, patience: float | None
) -> None:
    """`timeout` is the time until the next server is asked too; `dns.timeout` ends the query."""
    system.write(options, *["192.0.2.1"] * servers)
    made = Nameservers((), 8.0, resolv_conf=system.path)
    assert made._in_use.manner == Manner(8.0, patience=patience)
    assert longest_patience(8.0, servers) >= (patience or 0)


async def test_configured_servers(system: System, server: DnsServer) -> None:
    """With `dns.nameservers` no option of resolv.conf counts."""
    system.write("use-vc")
    dns = DnsClient([server.address], 20.0, resolv_conf=system.path)
    await dns.look_up_txt(GOOD)
    assert server.tcp_queries.total == 0


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("192.0.2.1", ("192.0.2.1", 53)),
        ("fe80::1%lo", ("fe80::1", 53, 0, 1)),
        ("fe80::1%7", ("fe80::1", 53, 0, 7)),
        ("fe80::1%none", ("fe80::1", 53, 0, 0)),
    ],
)
async def test_zones(host: str, address: tuple[object, ...]) -> None:
    """The zone of a link-local server is the index of an interface, or a number."""
    assert _socket_address(TcpAddress(host, 53)) == address


async def test_a_zone_that_is_missing(system: System) -> None:
    """A server behind an interface that does not exist cannot be reached; nothing else happens."""
    dns = system.client("edns0", "fe80::1%none0", "127.0.0.1")
    assert (await dns.look_up_txt(GOOD)).ttl == 300
