"""The daemon in a control group with little memory, and with too little.

With too little only the network process is killed.
"""

import asyncio
import contextlib
import os
import sys
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.clients import request
from tests.support.daemons import RunningDaemon, secure, until
from tests.support.internet import Internet
from tests.support.network_processes import children
from tests.support.obstacles import cannot

_ROOT = Path("/sys/fs/cgroup")
MIB = 2**20
ROOM = 4 * MIB
"""What the group may take more than the idle daemon."""
KILLED = "network process ended status=-9"


class Group:
    """A control group (cgroups(7)) with a limit of memory, of either version."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._is_v2 = (folder / "memory.max").exists()

    @property
    def usage(self) -> int:
        """The bytes in use."""
        name = "memory.current" if self._is_v2 else "memory.usage_in_bytes"
        return int((self.folder / name).read_text())

    def limit(self, size: int) -> None:
        """Set the limit of memory."""
        name = "memory.max" if self._is_v2 else "memory.limit_in_bytes"
        (self.folder / name).write_text(str(size))


@pytest.fixture
def group() -> Iterator[Group]:
    """An empty group below that of this process."""
    groups = dict(line.split(":")[1:] for line in _lines(Path("/proc/self/cgroup")))
    above = _ROOT / "memory" / groups["memory"][1:] if "memory" in groups else _ROOT
    folder = above / f"mta-sts-{uuid.uuid4()}"
    try:
        folder.mkdir()
    except OSError as error:
        cannot(f"a control group cannot be made: {error}")
    try:
        if not any((folder / name).exists() for name in ("memory.max", "memory.limit_in_bytes")):
            cannot(f"a control group in {above} has no limit of memory")
        yield Group(folder)
    finally:
        folder.rmdir()


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


@contextlib.asynccontextmanager
async def daemon_in(
    group: Group, net: Internet, folder: Path, prefix: Sequence[str] = ()
) -> AsyncIterator[int]:
    """Run the daemon in the group; its process id. `prefix`: a command that runs it."""
    config = str(net.config(folder, {"lookup": {"timeout": "60s"}}))  # for a busy machine
    words = [*prefix, sys.executable, "-m", "postfix_mta_sts", "serve", "--config", config]
    enter = f'echo $$ > {group.folder}/cgroup.procs; exec "$0" "$@"'
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec("sh", "-c", enter, *words, stderr=log)
    try:
        yield process.pid
    finally:
        group.limit(1024 * MIB)
        process.terminate()
        await process.wait()
        await until(lambda: not (group.folder / "cgroup.procs").read_text())


async def test_a_small_machine(net: Internet, tmp_path: Path, group: Group) -> None:
    """With 256 MiB and 1,024 open files, 200 new domains at once all get their policies."""
    served = RunningDaemon(tmp_path)
    domains = [f"d{number}.test" for number in range(200)]
    for domain in domains:
        net.publish(domain)
    group.limit(256 * MIB)
    few = ("prlimit", "--nofile=1024:1024")
    async with daemon_in(group, net, tmp_path, few) as pid:
        await until(lambda: "started" in (tmp_path / "log").read_text())
        async with served.clients(len(domains)) as clients:
            for _ in range(2):  # from the network, then from memory
                asked = zip(clients, domains, strict=True)
                replies = await asyncio.gather(*(each.ask(domain) for each, domain in asked))
                assert replies == [secure(domain) for domain in domains]
        assert len(children(pid)) == 1
    log = (tmp_path / "log").read_text()
    assert [word for word in ("own fault", KILLED, "Traceback") if word in log] == []


async def test_only_the_network_process_is_killed(
    net: Internet, tmp_path: Path, group: Group
) -> None:
    """The daemon answers known domains meanwhile, and new ones once there is memory again."""
    served = RunningDaemon(tmp_path)
    domains = [f"d{number}.test" for number in range(300)]
    for domain in domains:
        net.publish(domain)
    async with daemon_in(group, net, tmp_path) as pid:
        await until(lambda: "started" in (tmp_path / "log").read_text())
        assert await served.ask("good.test") == secure("good.test")
        (first,) = children(pid)
        net.hosts.hold()
        group.limit(group.usage + ROOM)
        async with served.clients(len(domains)) as clients:
            for client, domain in zip(clients, domains, strict=True):
                client.send(request(domain))
            await until(lambda: KILLED in (tmp_path / "log").read_text())
            assert await served.ask("good.test") == secure("good.test")
            group.limit(1024 * MIB)
            net.hosts.release()
            for client in clients:  # 300 handshakes; on a busy machine some are too late
                await client.netstring()
        await until(lambda: bool(children(pid)) and children(pid) != [first])
        net.publish("new.test")
        assert await served.ask("new.test") == secure("new.test")
        os.kill(pid, 0)  # the same daemon
    assert "Traceback" not in (tmp_path / "log").read_text()
