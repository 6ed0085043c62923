"""The whole daemon: real sockets, DNS packets, HTTPS and a file; in this process and in its own."""

import asyncio
import contextlib
import itertools
import os
import signal
import socket
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType

import pytest

from postfix_mta_sts.cli.parser import DEFAULT_CONFIG
from postfix_mta_sts.sockets import ListenError
from tests.support.clients import Address, Client, connected, request
from tests.support.daemons import PATIENCE, Process, RunningDaemon, daemon, process, reloading
from tests.support.dns import Fault
from tests.support.internet import AS_IT_IS, Changes, Internet
from tests.support.policy_host import black_hole, ok, policy_text

NOT_FOUND = b"NOTFOUND "
both_loops = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])


def secure(domain: str) -> bytes:
    """What is answered of a domain that `Internet.publish` has given its ordinary policy."""
    return f"OK secure match=mx1.{domain} servername=hostname".encode()


class TestAnswers:
    """What Postfix gets over each wire."""

    @both_loops
    async def test_each_wire_and_dress(self, net: Internet, tmp_path: Path) -> None:
        """One look-up at the network serves all listeners, each in its own dress."""
        async with daemon(net, tmp_path) as running:
            plain = await running.ask("good.test")
            tlsrpt = await running.ask("good.test", "QUERYwithTLSRPT")
            assert await running.ask("good.test", "QUERY") == plain
            assert await running.ask("[good.test]:25") == plain
            on_tcp = await running.get("good.test")
            on_tcp_tlsrpt = await running.get("good.test", tlsrpt=True)
        assert plain == secure("good.test")
        attributes = b" policy_type=sts policy_domain=good.test mx_host_pattern=mx1.good.test "
        assert tlsrpt.startswith(plain + attributes)
        assert on_tcp == b"200 secure%20match=mx1.good.test%20servername=hostname"
        assert on_tcp_tlsrpt.startswith(on_tcp + b"%20policy_type=sts%20policy_domain=good.test%20")
        assert (net.queries("good.test"), net.gets("good.test")) == (1, 1)

    @both_loops
    async def test_absence(self, net: Internet, tmp_path: Path) -> None:
        """A domain without a record is not found, and is asked for once."""
        async with daemon(net, tmp_path) as running:
            assert [await running.ask("other.test") for _ in range(2)] == [NOT_FOUND] * 2
            assert await running.get("other.test") == b"500 not%20found"
        assert net.queries("other.test") == 1
        assert net.hosts.connections.total == 0

    async def test_maps(self, net: Internet, tmp_path: Path) -> None:
        """Map names of the configuration have the dress that it gives them."""
        net.publish("soft.test", ok(policy_text("testing", mx=["mx1.soft.test"])))
        maps = {"strict": {"enforce_testing": True}, "old": {"servername": False}}
        async with daemon(net, tmp_path, changes={"maps": maps}) as running:
            assert await running.ask("soft.test") == NOT_FOUND
            assert await running.ask("soft.test", "strict") == secure("soft.test")
            assert await running.ask("good.test", "old") == b"OK secure match=mx1.good.test"

    async def test_a_dns_that_does_not_say(self, net: Internet, tmp_path: Path) -> None:
        """Mail flows unless the administrator wants to wait for the DNS."""
        net.vanish(Fault.SERVFAIL)
        async with daemon(net, tmp_path) as running:
            assert await running.ask("good.test") == NOT_FOUND
        async with daemon(net, tmp_path, changes={"dns": {"on_failure": "defer"}}) as running:
            assert (await running.ask("good.test")).startswith(
                b"TEMP MTA-STS: DNS failure for good"
            )
            assert (await running.get("good.test")).startswith(b"400 MTA-STS:%20DNS%20failure")

    @both_loops
    async def test_200_clients_ask_for_one_new_domain(self, net: Internet, tmp_path: Path) -> None:
        """They share one TXT query and one GET, counted at the servers."""
        net.hosts.hold()
        async with daemon(net, tmp_path) as running, running.clients(200) as clients:
            asked = [asyncio.create_task(client.ask("good.test")) for client in clients]
            await net.hosts.gets.reached("mta-sts.good.test")
            assert await running.ask("other.test") == NOT_FOUND  # asked last, and answered first
            assert not any(task.done() for task in asked)
            net.hosts.release()
            assert set(await asyncio.gather(*asked)) == {secure("good.test")}
        assert (net.queries("good.test"), net.gets("good.test")) == (1, 1)
        assert net.dns.queries["mta-sts.good.test", "A"] == 1

    async def test_a_black_hole_delays_nobody_else(self, net: Internet, tmp_path: Path) -> None:
        """Who asks for a Policy Host that says nothing waits; all others are served."""
        net.publish("black.test")
        net.dns.zone["mta-sts.black.test A"] = ["127.0.0.2"]
        patient = {"lookup": {"timeout": "90s"}, "https": {"timeout": "10m"}}
        async with (
            daemon(net, tmp_path, changes=patient) as running,
            running.clients(50) as clients,
        ):
            with black_hole("127.0.0.2", net.hosts.port):
                waiting = [asyncio.create_task(client.ask("black.test")) for client in clients]
                await net.dns.queries.reached(("mta-sts.black.test", "A"))
                assert await running.ask("good.test") == secure("good.test")
                assert await running.ask("other.test") == NOT_FOUND
                assert not any(task.done() for task in waiting)
            assert set(await asyncio.gather(*waiting)) == {NOT_FOUND}  # its connection was reset

    async def test_a_black_hole_delays_by_the_timeout(self, net: Internet, tmp_path: Path) -> None:
        """Who asks for it is let go after lookup.timeout, however long the GET may take."""
        net.publish("black.test")
        net.dns.zone["mta-sts.black.test A"] = ["127.0.0.2"]
        with black_hole("127.0.0.2", net.hosts.port):
            hasty = {"lookup": {"timeout": "0.3s"}, "https": {"timeout": "10m"}}
            async with daemon(net, tmp_path, changes=hasty) as running:
                assert await running.ask("black.test") == NOT_FOUND
                assert await running.ask("black.test") == NOT_FOUND
                # The first attempt continues. On a busy machine its query may not have been sent.
                await net.dns.queries.reached(("mta-sts.black.test", "A"))
        assert net.queries("black.test") == 1

    async def test_clock_set_at_the_start(
        self, net: Internet, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A clock that is set while the daemon starts, as at boot, is noticed at once."""
        readings = itertools.chain([0.0], itertools.repeat(1e9))
        async with daemon(net, tmp_path, clock=lambda: next(readings)) as running:
            assert await running.ask("good.test") == secure("good.test")
            await until(lambda: "clock was set seconds=1000000000" in caplog.text)

    async def test_counts_its_tasks(self, net: Internet, tmp_path: Path) -> None:
        """Its figures have the tasks of its event loop, and those that ended no longer."""
        few, many = 50, 1_000  # few are its own, and the Internet's
        async with reloading(net, tmp_path) as (_, served):
            async with asyncio.TaskGroup() as group:
                end = asyncio.Event()
                for _ in range(many):
                    group.create_task(end.wait())
                assert many < (await served.snapshot()).tasks < many + few
                end.set()
            assert 0 < (await served.snapshot()).tasks < few

    async def test_address_in_use(self, net: Internet, tmp_path: Path) -> None:
        """A second daemon at the same place says so, and leaves the first one's files."""
        async with daemon(net, tmp_path) as running:
            with pytest.raises(ListenError, match="another process is listening on it"):
                async with daemon(net, tmp_path):
                    pass
            assert await running.ask("good.test") == secure("good.test")
        assert not running.socketmap.exists()


class TestDane:
    """A domain that has both, DANE and a policy."""

    ON: Changes = MappingProxyType({"dane": {"mode": "on"}})

    @both_loops
    async def test_before_the_policy(self, net: Internet, tmp_path: Path) -> None:
        """DANE goes first, from the first reply on; a domain without it has its policy."""
        net.vouch("good.test")
        net.publish("other.test")
        async with daemon(net, tmp_path, changes=self.ON) as running:
            assert (
                await running.ask("good.test") == await running.ask("good.test") == b"OK dane-only"
            )
            assert await running.ask("other.test") == secure("other.test")

    @both_loops
    async def test_reload(self, net: Internet, tmp_path: Path) -> None:
        """DANE can be turned on and off, and answered in another way, while the daemon runs."""
        net.vouch("good.test")
        yielding = {"dane": {"mode": "on", "answer": "yield"}}
        async with reloading(net, tmp_path) as (running, served):
            said = [await running.ask("good.test")]
            for changes in (self.ON, yielding, AS_IT_IS):
                await served.reload(net.settings(tmp_path, changes))
                said.append(await running.ask("good.test"))
        assert said == [secure("good.test"), b"OK dane-only", NOT_FOUND, secure("good.test")]

    async def test_name_server_that_does_not_validate(self, net: Internet, tmp_path: Path) -> None:
        """Its records are not asked for: DANE is off, and `status` says so."""
        net.vouch("good.test")
        net.dns.signed.clear()
        async with reloading(net, tmp_path) as (running, served):
            await served.reload(net.settings(tmp_path, self.ON))
            assert await running.ask("good.test") == secure("good.test")
            dane = (await served.control.status())["dane"]
        assert not dane["on"]
        assert dane["reason"] == f"does not validate: name server {net.dns.address}"
        assert net.dns.queries["good.test", "MX"] == 0

    async def test_restart_in_silence(self, net: Internet, tmp_path: Path) -> None:
        """A verdict on file is kept while no name server answers: the policy overrides it not."""
        net.vouch("good.test")
        async with daemon(net, tmp_path, changes=self.ON) as running:
            assert await running.ask("good.test") == b"OK dane-only"
        net.vanish(Fault.REFUSED)
        async with daemon(net, tmp_path, changes=self.ON) as running:
            assert await running.ask("good.test") == b"OK dane-only"


class TestRestart:
    """What one daemon leaves to the next."""

    async def test_served_while_all_is_dead(self, net: Internet, tmp_path: Path) -> None:
        """A policy on file is served although neither DNS nor HTTPS answer."""
        async with daemon(net, tmp_path) as running:
            await running.ask("good.test")
        net.vanish(Fault.SILENCE)
        async with daemon(net, tmp_path) as running:
            assert await running.ask("good.test") == secure("good.test")
        assert net.gets("good.test") == 1

    async def test_overlapping(self, net: Internet, tmp_path: Path) -> None:
        """The next one takes the sockets' place while the one before still answers."""
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
        """What asks the network ends with the daemon: asked to, or killed."""
        for end in (Process.stop, Process.kill):
            async with process(tmp_path, net.config(tmp_path)) as served:
                await served.start()
                (child,) = children(served.pid)
                await end(served)
                await until(lambda: is_over(child))  # noqa: B023 (awaited here)

    async def test_another_outpost(self, net: Internet, tmp_path: Path) -> None:
        """If what asks the network is killed, what is known is answered, and all is, soon."""
        net.publish("new.test")
        async with process(tmp_path, net.config(tmp_path)) as served:
            await served.start()
            assert await served.ask("good.test") == secure("good.test")
            os.kill(children(served.pid)[0], signal.SIGKILL)
            assert await served.ask("good.test") == secure("good.test")
            await until(lambda: "has ended status=-9" in served.log)
            assert await served.ask("new.test") == secure("new.test")
            assert len(children(served.pid)) == 1
            assert await served.stop() == 0

    async def test_kill_in_the_middle_of_traffic(self, net: Internet, tmp_path: Path) -> None:
        """After `kill -9` every policy of which Postfix was told is on file, with its own age."""
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
            gets = net.hosts.gets.total  # the killed one's outpost has ended by now, too
            for domain in answered:
                assert await served.ask(domain) == secure(domain)
            assert await served.stop() == 0
        assert net.hosts.gets.total == gets
        fetched = rows(served.store)
        for domain, (before, after) in answered.items():
            assert before <= fetched[domain] <= after

    @pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX], ids=["tcp", "unix"])
    async def test_inherited_socket(
        self, net: Internet, tmp_path: Path, family: socket.AddressFamily
    ) -> None:
        """With a socket of systemd's nobody is turned away between one daemon and the next."""
        unix = family == socket.AF_UNIX
        path = tmp_path / "inherited"
        with socket.socket(family) as sock:
            sock.bind(str(path) if unix else ("127.0.0.1", 0))
            sock.listen()
            address: Address = path if unix else sock.getsockname()
            written = f"unix:{path}" if unix else f"127.0.0.1:{sock.getsockname()[1]}"
            config = net.config(tmp_path)
            text = config.read_text().replace(f"unix:{tmp_path / 'socketmap'}", written)
            config.write_text(text)
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


class TestEnd:
    """SIGTERM, and what systemd is told."""

    @pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
    async def test_told(self, net: Internet, tmp_path: Path, signum: signal.Signals) -> None:
        """READY=1 when it answers, STOPPING=1 when it begins to stop, exit code 0."""
        async with process(tmp_path, net.config(tmp_path)) as served:
            await served.start()
            assert await served.ask("good.test") == secure("good.test")
            served.signal(signum)
            assert await served.notified() == b"STOPPING=1"
            assert await served.ended() == 0
            assert [p.exists() for p in (served.socketmap, served.tcp_table)] == [False, False]
            assert "Traceback" not in served.log

    async def test_what_was_asked_is_answered(self, net: Internet, tmp_path: Path) -> None:
        """Look-ups under way at SIGTERM, of 50 clients, get their replies; new ones are refused."""
        net.hosts.hold()
        async with process(tmp_path, net.config(tmp_path)) as served:
            await served.start()
            async with served.clients(50) as clients:
                for number, client in enumerate(clients):
                    net.publish(f"d{number % 10}.test")
                    client.send(request(f"d{number % 10}.test"))
                await net.hosts.gets.total_reached(10)
                served.signal(signal.SIGTERM)
                assert await served.notified() == b"STOPPING=1"
                await until(lambda: not served.socketmap.exists())
                net.hosts.release()
                replies = [await client.netstring() for client in clients]
                assert replies == [secure(f"d{number % 10}.test") for number in range(50)]
                assert all([await client.closed() for client in clients])
            assert await served.ended() == 0
            assert "closed unanswered" not in served.log

    async def test_under_load(self, net: Internet, tmp_path: Path) -> None:
        """50 clients that never stop asking do not keep it: whole replies, then the end."""
        async with process(tmp_path, net.config(tmp_path)) as served:
            await served.start()
            async with served.clients(50) as clients:
                begun = asyncio.Event()
                asking = [asyncio.create_task(asked_forever(c, begun)) for c in clients]
                await begun.wait()
                assert await served.stop() == 0
                replies, broken = zip(*await asyncio.gather(*asking), strict=True)
            assert set.union(*replies) == {secure("good.test")}
            assert set(broken) == {b""}

    async def test_without_a_configuration(self, tmp_path: Path) -> None:
        """No file at all is a working configuration: the default port, the user's state folder."""
        address = ("127.0.0.1", 8461)
        with socket.socket() as probe:
            taken = probe.connect_ex(address) == 0
        if taken or DEFAULT_CONFIG.exists():
            pytest.skip("this machine has a daemon, or a configuration, of its own")
        async with process(tmp_path, None) as served:
            await served.start(XDG_STATE_HOME=str(tmp_path), STATE_DIRECTORY="")
            async with connected(address) as client:
                assert await client.ask(".parent.test") == NOT_FOUND
            assert await served.stop() == 0
        assert (tmp_path / "postfix-mta-sts" / "policies.db").exists()


class TestStore:
    """A store that fails while the daemon runs stops no answer."""

    async def test_locked(self, net: Internet, tmp_path: Path) -> None:
        """Behind another process's lock all is answered, and written when there is none."""
        async with daemon(net, tmp_path) as running:
            await running.ask("good.test")
            with contextlib.closing(sqlite3.connect(running.store, isolation_level=None)) as other:
                other.execute("BEGIN EXCLUSIVE")
                net.publish("new.test")
                assert await running.ask("new.test") == secure("new.test")
                assert await running.ask("good.test") == secure("good.test")
        assert rows(running.store).keys() == {"good.test", "new.test"}

    @pytest.mark.parametrize("how", ["damaged", "removed", "a folder"])
    async def test_destroyed(self, net: Internet, tmp_path: Path, how: str) -> None:
        """A file that is gone or overwritten costs no answer, and nothing that is in memory."""
        async with daemon(net, tmp_path) as running:
            await running.ask("good.test")
            destroy(running.store, how)
            net.publish("new.test")
            assert await running.ask("new.test") == secure("new.test")
            assert await running.ask("good.test") == secure("good.test")
            if how == "a folder":
                running.store.rmdir()
            await until(lambda: written(running.store) == {"good.test", "new.test"})
        assert rows(running.store).keys() == {"good.test", "new.test"}

    async def test_unusable_from_the_start(self, net: Internet, tmp_path: Path) -> None:
        """With a folder in the file's place the daemon starts and serves from memory."""
        (tmp_path / "policies.db").mkdir()
        async with daemon(net, tmp_path) as running:
            assert await running.ask("good.test") == secure("good.test")
            net.vanish(Fault.SILENCE)
            assert await running.ask("[good.test]") == secure("good.test")


def children(pid: int) -> list[int]:
    """The processes that a process has begun."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(each) for each in listed.split()]


def is_over(pid: int) -> bool:
    """Whether a process has ended, be it that nobody has asked how."""
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True


async def until(holds: Callable[[], bool]) -> None:
    """Return once something holds of which nobody tells: files of another process."""
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 (nothing tells)
            await asyncio.sleep(0.005)


async def new_domains(
    net: Internet, running: RunningDaemon, name: str, answered: dict[str, tuple[float, float]]
) -> None:
    """Ask for domains never heard of, 8 at a time, until there is nobody to answer.

    Of those whose look-up was answered, note from when to when it took.
    """

    async def one_after_another(lane: int) -> None:
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

    await asyncio.gather(*map(one_after_another, range(8)))


async def asked_forever(client: Client, begun: asyncio.Event) -> tuple[set[bytes], bytes]:
    """The replies to a client that never stops asking, and what came of the last one."""
    replies = set()
    try:
        while True:
            replies.add(await client.ask("good.test"))
            begun.set()
    except asyncio.IncompleteReadError as end:
        return replies, end.partial
    except ConnectionError:
        return replies, b""


def rows(path: Path) -> dict[str, float]:
    """The domains on file, and when their policies were fetched."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        return dict(db.execute("SELECT domain, fetched_at FROM policies"))


def written(path: Path) -> set[str]:
    """The domains on file, if there is one that can be read."""
    try:
        return set(rows(path)) if path.is_file() else set()
    except sqlite3.Error:
        return set()


def destroy(path: Path, how: str) -> None:
    """What may befall a file."""
    if how == "damaged":
        path.write_bytes(b"\xff" * path.stat().st_size)
        return
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()
    if how == "a folder":
        path.mkdir()
