"""Look-ups in a namespace, by each resolv.conf in a folder: `python -m tests.e2e.lookups FOLDER`.

It writes a JSON object, file name → row. It also runs what behaves as Docker's name server: it
passes queries on to another server, and its answers back, octet by octet. And it holds the sockets
of a server that never answers.
"""

import asyncio
import contextlib
import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from postfix_mta_sts.config.settings import DaneSettings, DnsSettings, Settings
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import DnsFailureError, NoRecordError
from postfix_mta_sts.network.clients import LazyDaneClient
from postfix_mta_sts.network.dns import DnsClient
from postfix_mta_sts.network.settings import NetworkSettings
from postfix_mta_sts.postfix.dane import check_status
from tests.e2e.resolvers import SILENT, UNBOUND

DOCKER: Final = "127.0.0.11"
LINK_LOCAL: Final = "fe80::53%lo"
DOMAINS: Final = {
    "a record": "good.test",
    "a CNAME": "alias.good.test",
    "a long answer": "long.good.test",
    "not signed": "plain.test",
    "no record": "none.good.test",
    "no such name": "absent.good.test",
    "a bad signature": "expired.test",
    "a silent zone": "dead.test",
}
"""Column of the table → Policy Domain."""
SETTINGS: Final = Settings(dns=DnsSettings(timeout=4.0), dane=DaneSettings(mode="on"))


async def row(resolv_conf: Path) -> dict[str, str]:
    """What the daemon finds by this file."""
    dns = DnsClient((), SETTINGS.dns.timeout, resolv_conf=resolv_conf)
    outcomes = [_outcome(dns, Domain(domain)) for domain in DOMAINS.values()]
    dane, *found = await asyncio.gather(_dane(resolv_conf), *outcomes)
    return dict(zip(DOMAINS, found, strict=True)) | {"DANE": dane}


async def _outcome(dns: DnsClient, domain: Domain) -> str:
    try:
        answer = await dns.look_up_txt(domain)
    except NoRecordError:
        return "none"
    except DnsFailureError:
        return "failure"
    return "found" if b"v=STSv1; id=1;" in answer.texts else "something else"


async def _dane(resolv_conf: Path) -> str:
    """Whether DANE is on with these servers, and if so, the verdict of the good domain."""
    client = LazyDaneClient(NetworkSettings.of(SETTINGS), resolv_conf)
    status = await check_status(SETTINGS, client, None)
    if not status.on or not status.is_final:
        return f"{'on' if status.on else 'off'}: {status.reason.partition(':')[0]}"
    outcome = await client.look_up_dane(Domain("good.test"))
    return f"on, verdict {outcome.kind.value}"


class _Relay(asyncio.DatagramProtocol):
    """Passes datagrams on, and back to whom they came from."""

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override] # the base class has no type for datagrams
        self._transport = transport
        self._tasks: set[asyncio.Task[None]] = set()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        task = asyncio.create_task(self._pass_on(data, addr))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, data: bytes, peer: tuple[str, int]) -> None:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
            sock.connect((UNBOUND, 53))
            await loop.sock_sendall(sock, data)
            self._transport.sendto(await loop.sock_recv(sock, 65536), peer)


async def _relay_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass one query over TCP on, and its answer back."""
    there, back = await asyncio.open_connection(UNBOUND, 53)
    with (
        contextlib.closing(writer),
        contextlib.closing(back),
        contextlib.suppress(asyncio.IncompleteReadError),  # the client gives the query up
    ):
        for source, target in ((reader, back), (there, writer)):
            length = await source.readexactly(2)
            target.write(length + await source.readexactly(int.from_bytes(length)))
            await target.drain()


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.create_server((SILENT, 53)),
    ):
        udp.bind((SILENT, 53))
        yield


async def main(folder: Path) -> dict[str, dict[str, str]]:
    """Run the servers, and return the rows."""
    loop = asyncio.get_running_loop()
    for address in (DOCKER, LINK_LOCAL):
        await loop.create_datagram_endpoint(_Relay, local_addr=(address, 53))
        await asyncio.start_server(_relay_stream, address, 53)
    files = sorted(folder.iterdir())
    with _silence():
        rows = await asyncio.gather(*map(row, files))
    return dict(zip([each.name for each in files], rows, strict=True))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(main(Path(sys.argv[1])))))
