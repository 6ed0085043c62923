"""Several processes serve together; whoever dies is replaced, and nobody outlives the parent."""

import asyncio
import os
import re
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.daemons import PATIENCE, Process, process
from tests.support.internet import Internet, internet

SECURE = b"OK secure match=mx1.good.test servername=hostname"


@pytest.fixture
async def net(tmp_path: Path) -> AsyncIterator[Internet]:
    """An Internet in which good.test has a policy."""
    async with internet(tmp_path) as net:
        net.publish("good.test")
        yield net


@pytest.fixture
async def together(net: Internet, tmp_path: Path) -> AsyncIterator[Process]:
    """Two workers and their parent, serving."""
    async with process(tmp_path, net.config(tmp_path), workers=2) as made:
        await made.start()
        yield made


def workers(daemon: Process) -> list[int]:
    """The pids of the workers that live, in the order of their beginning."""
    begun = [int(pid) for pid in re.findall(r"worker started worker=\d+ pid=(\d+)", daemon.log)]
    return [pid for pid in begun if is_alive(pid)]


def is_alive(pid: int) -> bool:
    """Whether a process runs; a dead one that nobody has waited for does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


async def until(number: int, daemon: Process) -> list[int]:
    """The workers, once there are so many."""
    async with asyncio.timeout(PATIENCE):
        while len(found := workers(daemon)) != number:  # noqa: ASYNC110 (nothing tells)
            await asyncio.sleep(0.01)
    return found


async def test_ready_when_all_are(together: Process) -> None:
    """The parent tells systemd once, when each worker serves; only one of them renews."""
    assert len(workers(together)) == 2
    assert together.log.count(" started version=") == 1


async def test_one_store(together: Process, net: Internet) -> None:
    """Whichever worker answers, the policy is fetched at most once by each, and on file."""
    async with together.clients(20) as clients:
        replies = [await client.ask("good.test") for client in clients]
    assert set(replies) == {SECURE}
    assert 1 <= net.hosts.gets["mta-sts.good.test"] <= 2


async def test_a_dead_worker_is_replaced(together: Process) -> None:
    """Others answer meanwhile, and the new one is as the old one was."""
    first, second = workers(together)
    os.kill(first, signal.SIGKILL)
    assert await together.ask("good.test") == SECURE
    again = await until(2, together)
    assert second in again
    assert first not in again
    assert together.log.count("worker died") == 1
    assert await together.ask("good.test") == SECURE


async def test_all_workers_dead(together: Process) -> None:
    """A client that connects waits for the next worker: the listeners are the parent's."""
    for pid in workers(together):
        os.kill(pid, signal.SIGKILL)
    assert await together.ask("good.test") == SECURE


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
async def test_stop(together: Process, signum: signal.Signals) -> None:
    """Told to stop, all end, and the exit code is 0."""
    pids = workers(together)
    assert await together.ask("good.test") == SECURE
    together.signal(signum)
    assert await together.notified() == b"STOPPING=1"
    assert await together.ended() == 0
    assert not any(map(is_alive, pids))
    assert not together.socketmap.exists()


async def test_stop_answers_what_was_asked(net: Internet, together: Process) -> None:
    """A look-up under way when the end begins gets its reply."""
    net.dns.hold()
    async with together.clients(4) as clients:
        asked = [asyncio.create_task(client.ask("good.test")) for client in clients]
        await net.dns.queries.reached(("_mta-sts.good.test", "TXT"))
        together.signal(signal.SIGTERM)
        assert await together.notified() == b"STOPPING=1"
        net.dns.release()
        assert set(await asyncio.gather(*asked)) == {SECURE}
    assert await together.ended() == 0


async def test_no_orphans(together: Process) -> None:
    """The parent killed, its workers end too."""
    pids = workers(together)
    assert pids
    await together.kill()
    async with asyncio.timeout(PATIENCE):
        while any(map(is_alive, pids)):  # noqa: ASYNC110 (nothing tells)
            await asyncio.sleep(0.01)


async def test_an_address_in_use(net: Internet, tmp_path: Path) -> None:
    """Is said by the parent, once, before there is any worker."""
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "socketmap"))
        other.listen()
        async with process(tmp_path, net.config(tmp_path), workers=2) as made:
            with pytest.raises(AssertionError, match="cannot listen on"):
                await made.start()
            assert await made.ended() == 2
