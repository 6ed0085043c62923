"""Several processes serve together; whoever dies is replaced, and nobody outlives the parent."""

import asyncio
import json
import os
import re
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.clients import connected
from tests.support.daemons import PATIENCE, Process, process
from tests.support.internet import Internet

SECURE = b"OK secure match=mx1.good.test servername=hostname"


@pytest.fixture
async def control(net: Internet, tmp_path: Path) -> AsyncIterator[Process]:
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


async def test_ready_when_all_are(control: Process) -> None:
    """The parent tells systemd once, when each worker serves; only one of them renews."""
    assert len(workers(control)) == 2
    assert control.log.count(" started version=") == 1


async def test_dane(net: Internet, tmp_path: Path) -> None:
    """Each worker does DANE, and one of them says so."""
    net.vouch("good.test")
    config = net.config(tmp_path, {"dane": {"mode": "on"}})
    async with process(tmp_path, config, workers=2) as control:
        await control.start()
        said = {await control.ask("good.test") for _ in range(20)}
    assert said == {b"OK dane-only"}
    assert control.log.count("DANE is on") == 1


async def test_one_store(control: Process, net: Internet) -> None:
    """Whichever worker answers, the policy is fetched at most once by each, and on file."""
    async with control.clients(20) as clients:
        replies = [await client.ask("good.test") for client in clients]
    assert set(replies) == {SECURE}
    assert 1 <= net.hosts.gets["mta-sts.good.test"] <= 2


async def test_a_dead_worker_is_replaced(control: Process) -> None:
    """Others answer meanwhile, and the new one is as the old one was."""
    first, second = workers(control)
    os.kill(first, signal.SIGKILL)
    assert await control.ask("good.test") == SECURE
    again = await until(2, control)
    assert second in again
    assert first not in again
    assert control.log.count("worker died") == 1
    assert await control.ask("good.test") == SECURE


async def test_all_workers_dead(control: Process) -> None:
    """A client that connects waits for the next worker: the listeners are the parent's."""
    for pid in workers(control):
        os.kill(pid, signal.SIGKILL)
    assert await control.ask("good.test") == SECURE


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
async def test_stop(control: Process, signum: signal.Signals) -> None:
    """Told to stop, all end, and the exit code is 0."""
    pids = workers(control)
    assert await control.ask("good.test") == SECURE
    control.signal(signum)
    assert await control.notified() == b"STOPPING=1"
    assert await control.ended() == 0
    assert not any(map(is_alive, pids))
    assert not control.socketmap.exists()


async def test_stop_answers_what_was_asked(net: Internet, control: Process) -> None:
    """A look-up under way when the end begins gets its reply."""
    net.dns.hold()
    async with control.clients(4) as clients:
        asked = [asyncio.create_task(client.ask("good.test")) for client in clients]
        await net.dns.queries.reached(("_mta-sts.good.test", "TXT"))
        control.signal(signal.SIGTERM)
        assert await control.notified() == b"STOPPING=1"
        net.dns.release()
        assert set(await asyncio.gather(*asked)) == {SECURE}
    assert await control.ended() == 0


async def test_reload(net: Internet, control: Process, tmp_path: Path) -> None:
    """All workers are replaced by others with the new settings; no look-up fails meanwhile."""
    before, end = workers(control), asyncio.Event()
    asking = [asyncio.create_task(asked_until(control, end)) for _ in range(10)]
    listeners = [*net.options(tmp_path)["listen"], {"socketmap": f"unix:{tmp_path / 'more'}"}]  # type: ignore[misc] # a list
    config = json.loads((tmp_path / "config.yml").read_text())
    (tmp_path / "config.yml").write_text(json.dumps({**config, "listen": listeners}))
    control.signal(signal.SIGHUP)
    assert (await control.notified()).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
    assert await control.notified() == b"READY=1"
    async with connected(tmp_path / "more") as client:
        assert await client.ask("good.test") == SECURE
    async with asyncio.timeout(PATIENCE):
        while any(map(is_alive, before)):  # noqa: ASYNC110 (nothing tells)
            await asyncio.sleep(0.01)
    end.set()
    assert min(await asyncio.gather(*asking)) > 0
    assert len(set(workers(control)) - set(before)) == 2
    assert "worker died" not in control.log


async def test_reload_of_a_bad_file(control: Process, tmp_path: Path) -> None:
    """It changes nothing, and both the log and systemd are told what is wrong with it."""
    before = workers(control)
    (tmp_path / "config.yml").write_text("dns: {timeout: soon}")
    control.signal(signal.SIGHUP)
    assert (await control.notified()).startswith(b"RELOADING=1\n")
    assert b"STATUS=not reloaded: " in await control.notified()
    assert await control.ask("good.test") == SECURE
    assert workers(control) == before
    assert control.log.count("not reloaded") == 1


async def test_watchdog(net: Internet, tmp_path: Path) -> None:
    """The first worker feeds systemd by way of the parent."""
    async with process(tmp_path, net.config(tmp_path), workers=2) as control:
        await control.start(WATCHDOG_USEC="1000000")
        assert [await control.notified() for _ in range(2)] == [b"WATCHDOG=1"] * 2


async def asked_until(control: Process, end: asyncio.Event) -> int:
    """Look-up after look-up, each over a connection of its own; all are answered well."""
    number = 0
    while not end.is_set():
        assert await control.ask("good.test") == SECURE
        number += 1
    return number


async def test_no_orphans(control: Process) -> None:
    """The parent killed, its workers end too."""
    pids = workers(control)
    assert pids
    await control.kill()
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
