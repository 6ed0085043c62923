"""Faults of the network process: it hangs, dies, is of another version, or cannot be started.

Postfix sees none of that where there is a process soon enough, and known domains are answered in
any case.
"""

import asyncio
import errno
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

import postfix_mta_sts
from postfix_mta_sts import __version__
from postfix_mta_sts.daemon.assembly import running
from postfix_mta_sts.daemon.daemon import Daemon
from postfix_mta_sts.network.timing import Timing
from tests.support.clients import Client, request
from tests.support.daemons import NOT_FOUND, TIMEOUT, Process, RunningDaemon, process, secure, until
from tests.support.http import exchange
from tests.support.internet import AS_IT_IS, Changes, Internet
from tests.support.network_processes import DIES, NEVER_READY, REAL, Programs, children, saying

PATIENT: Final = Timing(ping=0.1, silent_after=10, hung_after=10_000)
"""A silent process is noticed soon, but never killed."""
STRICT: Final = Timing(ping=0.1, silent_after=5, hung_after=20)
"""A silent process is killed soon."""
NEW: Final = [f"new{number}.test" for number in range(10)]


@asynccontextmanager
async def started(
    net: Internet, folder: Path, timing: Timing | None = None, changes: Changes = AS_IT_IS
) -> AsyncIterator[tuple[RunningDaemon, Daemon]]:
    """The whole daemon; good.test is known, and new domains are published."""
    for domain in NEW:
        net.publish(domain)
    metrics = {"listen": f"unix:{folder / 'metrics'}"}
    settings = net.settings(folder, {"metrics": metrics, **changes})
    async with (
        asyncio.timeout(TIMEOUT),
        running(settings, {}, https_port=net.hosts.port, timing=timing) as daemon,
    ):
        served = RunningDaemon(folder)
        assert await served.ask("good.test") == secure("good.test")
        yield served, daemon


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Programs:
    """What is started as the network process."""
    return Programs(monkeypatch)


async def check(served: RunningDaemon) -> tuple[int, str]:
    """The status of /readyz, and what its check of the network process says."""
    response = await exchange(served.folder / "metrics", "GET /readyz")
    body: Any = json.loads(response.body)
    return response.status, body["checks"]["network_process"]["says"]


async def until_ready(served: RunningDaemon, status: int) -> str:
    """Wait until /readyz has this status; return what it says of the network process."""
    while True:
        found, says = await check(served)
        if found == status:
            return says
        await asyncio.sleep(0.01)


async def reply(client: Client) -> bytes:
    """The reply to a request that was sent before."""
    async with asyncio.timeout(TIMEOUT):
        return await client.netstring()


def lines(caplog: pytest.LogCaptureFixture, text: str) -> list[str]:
    """The lines of an event."""
    return [each for each in caplog.messages if each.startswith(text)]


class TestHung:
    """A process that is stopped."""

    async def test_it_is_noticed(
        self, net: Internet, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """/readyz is 503 and one warning is logged; known domains are answered."""
        async with started(net, tmp_path, PATIENT) as (served, _):
            assert await until_ready(served, 200) == "ok"
            (child,) = children()
            os.kill(child, signal.SIGSTOP)
            says = await until_ready(served, 503)
            assert "the network process has not answered for" in says
            assert await served.ask("good.test") == secure("good.test")
            async with served.clients(1) as (client,):
                client.send(request(NEW[0]))
                os.kill(child, signal.SIGCONT)
                assert await reply(client) == secure(NEW[0])
            await until_ready(served, 200)
            assert children() == [child]
        assert len(lines(caplog, "network process does not answer")) == 1

    async def test_it_is_replaced(self, net: Internet, tmp_path: Path) -> None:
        """Another process takes over, and answers what the first one had not."""
        async with started(net, tmp_path, STRICT) as (served, _):
            (child,) = children()
            os.kill(child, signal.SIGSTOP)
            async with served.clients(len(NEW)) as clients:
                for client, domain in zip(clients, NEW, strict=True):
                    client.send(request(domain))
                assert [await reply(each) for each in clients] == [secure(d) for d in NEW]
            assert child not in children()

    @pytest.mark.parametrize("is_noticed_first", [True, False])
    async def test_a_reload(self, net: Internet, tmp_path: Path, *, is_noticed_first: bool) -> None:
        """The process of the reload also answers what the hung one had not, and at once."""
        async with started(net, tmp_path, PATIENT) as (served, daemon):
            await until_ready(served, 200)
            (child,) = children()
            os.kill(child, signal.SIGSTOP)
            async with served.clients(1) as (client,):
                client.send(request(NEW[0]))
                if is_noticed_first:
                    await until_ready(served, 503)
                await daemon.reload(net.settings(tmp_path, {"dns": {"timeout": "4s"}}))
                assert await reply(client) == secure(NEW[0])


class TestKilled:
    """A process that ends."""

    async def test_during_lookups(self, net: Internet, tmp_path: Path) -> None:
        """What was under way is asked again, so that every reply is right (A6)."""
        async with started(net, tmp_path) as (served, _):
            (child,) = children()
            net.hosts.hold()
            async with served.clients(len(NEW)) as clients:
                for client, domain in zip(clients, NEW, strict=True):
                    client.send(request(domain))
                for domain in NEW:
                    await net.hosts.gets.reached(f"mta-sts.{domain}")
                os.kill(child, signal.SIGKILL)
                net.hosts.release()
                assert [await reply(each) for each in clients] == [secure(d) for d in NEW]
            await until_ready(served, 200)
            metrics = await exchange(tmp_path / "metrics", "GET /metrics")
        assert b"postfix_mta_sts_network_process_restarts_total 1.0" in metrics.body.splitlines()

    @pytest.mark.parametrize(
        "data",
        [b"\0\0\0\1\0", b"\xff" * 1000, b"\0\0\1\0\x91"],
        ids=["garbage", "too long", "half a frame"],
    )
    async def test_it_breaks_the_channel(
        self, net: Internet, tmp_path: Path, programs: Programs, data: bytes
    ) -> None:
        """It is replaced, and the next one answers what it had not."""
        programs.queue(saying(data))
        async with started(net, tmp_path, STRICT) as (served, daemon):
            assert await served.ask(NEW[0]) == secure(NEW[0])
            assert daemon.backend.network.restarts >= 1
            assert len(children()) == 1


class TestNotToBeHad:
    """A process that cannot be started."""

    @pytest.mark.parametrize("program", [OSError(errno.EAGAIN, "no room"), DIES], ids=str)
    async def test_lookups_are_answered(
        self,
        net: Internet,
        tmp_path: Path,
        programs: Programs,
        caplog: pytest.LogCaptureFixture,
        program: str | OSError,
    ) -> None:
        """Known domains as before, new ones "not found" and soon; later ones are right."""
        timing = Timing(restart=0.02, restart_limit=0.2, give_up_after=0.05)
        async with started(net, tmp_path, timing) as (served, _):
            programs.usual = program
            os.kill(children()[0], signal.SIGKILL)
            says = await until_ready(served, 503)
            assert says.startswith("the network process needs attention")
            assert await served.ask(NEW[0]) == NOT_FOUND
            assert await served.ask("good.test") == secure("good.test")
            programs.usual = REAL
            await until_ready(served, 200)
            assert await served.ask(NEW[1]) == secure(NEW[1])
        assert len(lines(caplog, "cannot start network process")) == 1

    async def test_from_the_start(self, net: Internet, tmp_path: Path, programs: Programs) -> None:
        """The daemon starts all the same, with the policies that it has stored."""
        async with started(net, tmp_path):
            pass
        programs.usual = OSError(errno.EAGAIN, "no room")
        async with started(net, tmp_path) as (served, _):
            assert (await check(served))[0] == 503

    async def test_not_ready_after_the_start(
        self, net: Internet, tmp_path: Path, programs: Programs, caplog: pytest.LogCaptureFixture
    ) -> None:
        """/readyz is 503, and one warning is logged; new domains do not wait for their timeout."""
        async with started(net, tmp_path):
            pass
        programs.usual = NEVER_READY
        timing = Timing(late_after=0.1, give_up_after=0.05)
        patient = {"lookup": {"timeout": "60s"}}  # longer than the test may last
        async with (
            started(net, tmp_path, timing, patient) as (served, _),
            served.clients(1) as (early,),
        ):
            early.send(request(NEW[0]))
            assert "was not ready within 0.1 s" in await until_ready(served, 503)
            assert await reply(early) == NOT_FOUND
            assert await served.ask(NEW[1]) == NOT_FOUND
            assert await served.ask("good.test") == secure("good.test")
        assert len(lines(caplog, "network process is not ready")) == 1


class TestReload:
    """Processes that follow one another."""

    async def test_many_with_slow_hosts(self, net: Internet, tmp_path: Path) -> None:
        """Two processes exist at most, and every look-up under way gets its reply (B11)."""
        async with started(net, tmp_path) as (served, daemon):
            net.hosts.hold()
            async with served.clients(5) as clients:
                for client, domain in zip(clients, NEW, strict=False):
                    client.send(request(domain))
                    await net.hosts.gets.reached(f"mta-sts.{domain}")
                    await daemon.reload(daemon.settings)
                    assert len(children()) <= 2
                net.hosts.release()
                assert [await reply(each) for each in clients] == [secure(d) for d in NEW[:5]]
            await until(lambda: len(children()) == 1)

    async def test_other_code_on_disk(self, net: Internet, tmp_path: Path) -> None:
        """An upgrade under a running daemon: a reload is refused, the old process stays (B6)."""
        code = tmp_path / "code"
        shutil.copytree(Path(postfix_mta_sts.__file__).parent, code / "postfix_mta_sts")
        net.publish(NEW[0])
        async with process(tmp_path, net.config(tmp_path)) as served:
            await served.start(PYTHONPATH=str(code), PYTHONSAFEPATH="1")
            assert await served.ask("good.test") == secure("good.test")
            before = children(served.pid)
            init = code / "postfix_mta_sts" / "__init__.py"
            init.write_text(init.read_text().replace(__version__, "99.1"))
            reason = f"the network process has version 99.1, the daemon {__version__}"
            assert reason in await reload(served)
            line = f'keeping the previous configuration reason="{reason}'
            await until(lambda: line in served.log)
            assert children(served.pid) == before
            assert await served.ask(NEW[0]) == secure(NEW[0])
            init.write_text(init.read_text().replace("99.1", __version__))
            assert "failed" not in await reload(served)
            assert await served.stop() == 0


async def reload(served: Process) -> str:
    """Send SIGHUP; return what systemd is told at the end."""
    served.signal(signal.SIGHUP)
    assert (await served.notified()).startswith(b"RELOADING=1")
    return (await served.notified()).decode()
