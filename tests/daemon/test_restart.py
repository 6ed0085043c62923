"""Restarts: stored policies, inherited sockets, and the network process."""

import asyncio
import json
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.support.clients import Address, connected, request
from tests.support.daemons import (
    NOT_FOUND,
    Process,
    RunningDaemon,
    daemon,
    fetch_times,
    process,
    secure,
    until,
)
from tests.support.dns import Fault
from tests.support.internet import Internet


class TestRestart:
    """A daemon and the next one."""

    async def test_served_without_dns_and_https(self, net: Internet, tmp_path: Path) -> None:
        """A stored policy is served although neither DNS nor HTTPS answer."""
        async with daemon(net, tmp_path) as running:
            await running.ask("good.test")
        net.vanish(Fault.SILENCE)
        async with daemon(net, tmp_path) as running:
            assert await running.ask("good.test") == secure("good.test")
        assert net.gets("good.test") == 1

    async def test_overlapping(self, net: Internet, tmp_path: Path) -> None:
        """The next daemon opens the socket files while the first still answers."""
        net.hosts.hold()
        stop = asyncio.Event()

        async def first() -> None:
            async with daemon(net, tmp_path):
                await stop.wait()

        task = asyncio.create_task(first())
        running = RunningDaemon(tmp_path)
        await until(running.tcp_table_tlsrpt.exists)
        async with connected(running.socketmap) as client:
            client.send(request("good.test"))
            await net.hosts.gets.reached("mta-sts.good.test")
            stop.set()
            await until(lambda: not running.socketmap.exists())
            async with daemon(net, tmp_path) as running:
                assert await running.ask("other.test") == NOT_FOUND
                net.hosts.release()
                assert await client.netstring() == secure("good.test")
                await task
                assert await running.ask("good.test") == secure("good.test")

    async def test_no_orphan(self, net: Internet, tmp_path: Path) -> None:
        """The network process ends with the daemon, stopped or killed."""
        for end in (Process.stop, Process.kill):
            async with process(tmp_path, net.config(tmp_path)) as served:
                await served.start()
                (child,) = children(served.pid)
                await end(served)
                await until(lambda: is_over(child))  # noqa: B023 (awaited here)

    async def test_network_process_is_restarted(self, net: Internet, tmp_path: Path) -> None:
        """After the network process is killed, cached policies are served, and it is restarted."""
        net.publish("new.test")
        async with process(tmp_path, net.config(tmp_path)) as served:
            await served.start()
            assert await served.ask("good.test") == secure("good.test")
            os.kill(children(served.pid)[0], signal.SIGKILL)
            assert await served.ask("good.test") == secure("good.test")
            await until(lambda: "network process ended status=-9" in served.log)
            assert await served.ask("new.test") == secure("new.test")
            assert len(children(served.pid)) == 1
            assert await served.stop() == 0

    async def test_kill_in_the_middle_of_traffic(self, net: Internet, tmp_path: Path) -> None:
        """After `kill -9` every policy that Postfix received is stored, with its own age."""
        answered: dict[str, tuple[float, float]] = {}
        async with process(tmp_path, net.config(tmp_path)) as served:
            for round_ in range(3):
                await served.start()
                traffic = asyncio.create_task(new_domains(net, served, f"r{round_}", answered))
                await until(lambda: len(answered) >= 40 * (round_ + 1))  # noqa: B023 (awaited here)
                await served.kill()
                await traffic
            net.vanish(Fault.SILENCE)
            await served.start()
            gets = net.hosts.gets.total  # the network process of the killed daemon has ended by now
            for domain in answered:
                assert await served.ask(domain) == secure(domain)
            assert await served.stop() == 0
        assert net.hosts.gets.total == gets
        times = fetch_times(served.store)
        for domain, (before, after) in answered.items():
            assert before <= times[domain] <= after

    @pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX], ids=["tcp", "unix"])
    async def test_inherited_socket(
        self, net: Internet, tmp_path: Path, family: socket.AddressFamily
    ) -> None:
        """With a socket from systemd no client is refused between one daemon and the next."""
        unix = family == socket.AF_UNIX
        path = tmp_path / "inherited"
        with socket.socket(family) as sock:
            sock.bind(str(path) if unix else ("127.0.0.1", 0))
            sock.listen()
            address: Address = path if unix else sock.getsockname()
            written = f"unix:{path}" if unix else f"127.0.0.1:{sock.getsockname()[1]}"
            config = net.config(tmp_path)
            options = json.loads(config.read_text())
            config.write_text(json.dumps({**options, "listen": [{"socketmap": written}]}))
            async with process(tmp_path, config, sock) as served:
                await served.start()
                async with connected(address) as client:
                    assert await client.ask("good.test") == secure("good.test")
                assert await served.stop() == 0
                async with connected(address) as client:
                    client.send(request("good.test"))
                    await served.start()
                    assert await client.netstring() == secure("good.test")
                assert await served.stop() == 0
                assert "inherited socket fits no listener" not in served.log

    async def test_inherited_socket_without_listener(self, net: Internet, tmp_path: Path) -> None:
        """An inherited socket that fits no listener is closed and named in the log."""
        with socket.create_server(("127.0.0.1", 0)) as sock:
            address = "{}:{}".format(*sock.getsockname())
            async with process(tmp_path, net.config(tmp_path), sock) as served:
                await served.start()
                assert await served.ask("good.test") == secure("good.test")
                assert await served.stop() == 0
                assert f"inherited socket fits no listener address={address}" in served.log


def children(pid: int) -> list[int]:
    """The child processes of a process."""
    pids = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(each) for each in pids.split()]


def is_over(pid: int) -> bool:
    """Whether a process has ended; a zombie has."""
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True


async def new_domains(
    net: Internet, running: RunningDaemon, name: str, answered: dict[str, tuple[float, float]]
) -> None:
    """Look up new domains, 8 at a time, until the daemon ends.

    `answered` receives the times before and after each look-up that was answered.
    """

    async def look_up_in_turn(lane: int) -> None:
        for number in range(10_000):
            domain = f"{name}x{lane}x{number}.test"
            net.publish(domain)
            before = time.time()
            try:
                reply = await running.ask(domain)
            except (OSError, asyncio.IncompleteReadError):
                return
            assert reply == secure(domain)
            answered[domain] = (before, time.time())

    await asyncio.gather(*map(look_up_in_turn, range(8)))
