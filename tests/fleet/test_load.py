"""The load generator compares each reply with the one that must come."""

import asyncio
import contextlib
from pathlib import Path
from typing import Final

from bench.load import Load
from bench.process import Address
from tests.fleet.load import compile_load
from tests.fleet.relays import secure

KEY: Final = "d%.z.test"
WRONG: Final = {
    "d1.z.test": secure("d1.z.test", "mx2"),
    "d2.z.test": secure("d2.z.test") + "x",
    "d3.z.test": secure("d3.z.test")[:-1],
    "d4.z.test": secure("d5.z.test"),
    "d6.z.test": "NOTFOUND ",
}


async def _reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError):
        while size := await reader.readuntil(b":"):
            request = await reader.readexactly(int(size[:-1]) + 1)
            _, domain = request[:-1].decode().split(" ")
            text = WRONG.get(domain) or secure(domain)
            writer.write(b"%d:%b," % (len(text), text.encode()))


async def test_replies_that_differ_are_wrong(tmp_path: Path) -> None:
    """Another MX host, one byte more or less, another domain, no policy: each counts as wrong."""
    compile_load()
    async with await asyncio.start_unix_server(_reply, tmp_path / "socket"):
        load = Load(KEY, count=20, clients=3, answer=secure(KEY))
        result = await asyncio.to_thread(load.run, Address(f"unix:{tmp_path}/socket"))
    assert (result.count, result.wrong, result.absent) == (20, len(WRONG), 1)
