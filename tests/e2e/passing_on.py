"""Name servers that pass queries on to another server, and its answers back, octet by octet.

    python -m tests.e2e.passing_on SERVER ADDRESS...

They listen at each ADDRESS, print a line, and end at the end of their input. Docker's own name
server in a container behaves so.
"""

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Final

from tests.e2e.namespace import Namespace

DOCKER: Final = "127.0.0.11"
"""Where Docker's name server is in a container."""
_READY: Final = "ready\n"


@contextlib.contextmanager
def passing_on(inside: Namespace, server: str, *addresses: str) -> Iterator[None]:
    """Run them in a namespace while the context is open."""
    command = inside.command(sys.executable, "-m", "tests.e2e.passing_on", server, *addresses)
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == _READY
        yield


async def pass_on(address: str, server: str) -> None:
    """Listen at an address, at port 53 over UDP and TCP, as long as the event loop runs."""
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(lambda: _Datagrams(server), local_addr=(address, 53))
    streams = _Streams(server)
    await asyncio.start_server(streams.relay, address, 53)


class _Datagrams(asyncio.DatagramProtocol):
    """Passes datagrams on, and the answers back to their clients."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override] # the base class has no type for datagrams
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        task = asyncio.create_task(self._pass_on(data, addr))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, data: bytes, peer: tuple[str, int]) -> None:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
            sock.connect((self._server, 53))
            await loop.sock_sendall(sock, data)
            self._transport.sendto(await loop.sock_recv(sock, 65536), peer)


class _Streams:
    """Passes queries over TCP on."""

    def __init__(self, server: str) -> None:
        self._server = server

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one query on, and its answer back."""
        there, back = await asyncio.open_connection(self._server, 53)
        with (
            contextlib.closing(writer),
            contextlib.closing(back),
            contextlib.suppress(asyncio.IncompleteReadError),  # the client gives the query up
        ):
            for source, target in ((reader, back), (there, writer)):
                length = await source.readexactly(2)
                target.write(length + await source.readexactly(int.from_bytes(length)))
                await target.drain()


async def _main(server: str, *addresses: str) -> None:
    for address in addresses:
        await pass_on(address, server)
    sys.stdout.write(_READY)
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
