"""`python -m tests.torture.serve FOLDER`: the servers of a run as a process of their own.

It prints a line of JSON when they are ready, and serves until its input is closed. So a client that
measures is not delayed by what hostile servers do.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from tests.support.internet import authority
from tests.torture.daemon import ROOT
from tests.torture.hosts import policy_hosts
from tests.torture.names import NameServer
from tests.torture.world import World

NICENESS: Final = 10
"""In reality these servers are other machines, with other CPUs."""


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the servers are."""

    nameserver: str
    https_port: int
    ca_file: str


@contextlib.contextmanager
def servers(folder: Path) -> Iterator[Servers]:
    """Run the servers in another process."""
    words = [sys.executable, "-m", "tests.torture.serve", str(folder)]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as child:
        assert child.stdin
        assert child.stdout
        os.setpriority(os.PRIO_PROCESS, child.pid, NICENESS)
        yield Servers(**json.loads(child.stdout.readline()))
        child.stdin.close()


async def _serve(folder: Path) -> None:
    world = World(lambda _: None)
    async with NameServer(world) as name_server, policy_hosts(world, authority()) as hosts:
        ca_file = authority().write(folder)
        ready = Servers(name_server.address, hosts.port, str(ca_file))
        sys.stdout.write(json.dumps(asdict(ready)) + "\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
