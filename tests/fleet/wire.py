"""The way from the relays to a store, which a test can make slow, or close.

    python -m tests.fleet.wire PORT TO

It passes on what arrives at PORT of 127.0.0.1 to the port TO, reads commands from standard input
and answers on standard output, one JSON value per line, until its input ends.
"""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Final

HOST: Final = "127.0.0.1"
_SIZE: Final = 65_536


class _Passing:
    """All connections; a method without an underscore is a command."""

    def __init__(self, port: int, to: int) -> None:
        self._port = port
        self._to = to
        self._delay = 0.0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        """Accept connections."""
        self._server = await asyncio.start_server(self._pass_on, HOST, self._port)

    async def close(self) -> None:
        """Refuse connections, and end those that there are."""
        if self._server:
            self._server.close()
            self._server = None
        for writer in self._writers:
            writer.transport.abort()

    async def delay(self, seconds: float) -> None:
        """Pass on each block of a client so much later from now on."""
        self._delay = seconds

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(HOST, self._to)
        except OSError:
            writer.transport.abort()
            return
        mine = {writer, far_writer}
        self._writers |= mine
        try:
            await asyncio.gather(
                self._copy(reader, far_writer, is_late=True),
                self._copy(far_reader, writer, is_late=False),
            )
        finally:
            self._writers -= mine

    async def _copy(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_late: bool
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(_SIZE):
                if is_late and self._delay:
                    await asyncio.sleep(self._delay)
                sink.write(data)
                await sink.drain()
        sink.close()


class Wire:
    """The test's side; made by `wire`."""

    def __init__(self, process: "subprocess.Popen[str]", port: int) -> None:
        self._process = process
        self.port: Final = port

    @contextlib.contextmanager
    def closed(self) -> Iterator[None]:
        """Refuse all connections while the context is open."""
        self.tell("close")
        try:
            yield
        finally:
            self.tell("open")

    @contextlib.contextmanager
    def late(self, seconds: float) -> Iterator[None]:
        """Be late while the context is open."""
        self.tell("delay", seconds=seconds)
        try:
            yield
        finally:
            self.tell("delay", seconds=0.0)

    def tell(self, command: str, **arguments: object) -> None:
        """Have a command carried out."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([command, arguments]) + "\n")
        self._process.stdin.flush()
        assert json.loads(self._process.stdout.readline()) == "done"


@contextlib.contextmanager
def wire(port: int, to: int) -> Iterator[Wire]:
    """Pass on from one port to another while the context is open."""
    command = [sys.executable, "-m", "tests.fleet.wire", str(port), str(to)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        made = Wire(process, port)
        try:
            made.tell("open")
            yield made
        finally:
            process.kill()


async def _serve(port: int, to: int) -> None:
    passing = _Passing(port, to)
    while line := await asyncio.to_thread(sys.stdin.readline):
        name, arguments = json.loads(line)
        await getattr(passing, name)(**arguments)
        sys.stdout.write('"done"\n')
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_serve(*map(int, sys.argv[1:])))
