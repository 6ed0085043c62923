"""The whole daemon with a shared store that does not answer: Postfix notices nothing."""

import asyncio
import logging
from pathlib import Path

import pytest

from postfix_mta_sts.daemon.reload import IncompleteReloadError
from postfix_mta_sts.errors import UserError
from tests.support.daemons import NOT_FOUND, daemon, reloading, secure, until
from tests.support.internet import Changes, Internet


def fleet(url: str, **more: object) -> Changes:
    """The configuration of a relay in a fleet."""
    return {"fleet": {"url": url, "unsigned": True, **more}}


async def test_a_store_that_refuses(
    net: Internet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The daemon starts without it, and each reply is that of a relay alone (4)."""
    net.publish("other.test")
    async with daemon(net, tmp_path, changes=fleet("valkey://127.0.0.1:1")) as running:
        assert await running.ask("good.test") == secure("good.test")
        assert await running.ask("other.test") == secure("other.test")
        assert await running.ask("absent.test") == NOT_FOUND
        assert await running.ask("good.test") == secure("good.test")
    assert (net.gets("good.test"), net.queries("good.test")) == (1, 1)
    said = [each for each in caplog.records if each.levelno >= logging.WARNING]
    # On a machine with a Postfix, it may not connect to sockets in the folder of the test.
    assert {each.name for each in said} <= {"postfix_mta_sts.postfix.listeners"}


async def test_a_store_that_hangs(net: Internet, tmp_path: Path) -> None:
    """A look-up waits for its budget, and gets the policy; what was fetched waits (c)."""
    accepted: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: accepted.append(writer), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        async with daemon(net, tmp_path, changes=fleet(f"valkey://127.0.0.1:{port}")) as running:
            assert await running.ask("good.test") == secure("good.test")
            await until(lambda: bool(accepted))  # a busy machine is not connected in time
        for writer in accepted:  # a server of Python 3.13 waits for the end of its connections
            writer.close()


async def test_reloads(net: Internet, tmp_path: Path) -> None:
    """A fleet begins and ends by a reload; one with a key that cannot be read is refused."""
    for name in ("one.test", "two.test"):
        net.publish(name)
    async with reloading(net, tmp_path) as (running, served):
        sharing = served.backend.sharing
        await served.reload(net.settings(tmp_path, fleet("valkey://127.0.0.1:1")))
        assert await running.ask("one.test") == secure("one.test")
        await until(lambda: sharing.waiting == 1)
        missing = {"key_file": str(tmp_path / "key"), "unsigned": False}
        with pytest.raises(UserError, match="key"):
            await served.reload(net.settings(tmp_path, fleet("valkey://127.0.0.1:1", **missing)))
        assert sharing.waiting == 1
        await served.reload(net.settings(tmp_path))
        assert sharing.waiting == 0
        assert await running.ask("two.test") == secure("two.test")
        assert (await served.snapshot()).fleet.is_on is False


async def test_a_reload_into_another_fleet_whose_other_steps_fail(
    net: Internet, tmp_path: Path
) -> None:
    """The exceptions follow the network process into the fleet at once, whatever happens then."""
    async with reloading(net, tmp_path) as (_, served):
        members = list[str]()

        async def fail(_: object) -> None:
            members.append(served.frontend.exceptions.relay)
            raise ZeroDivisionError

        served.frontend.dane_support.reconfigure = fail  # type: ignore[method-assign, assignment]
        changes = fleet("valkey://127.0.0.1:1", name="mx7")
        with pytest.raises(IncompleteReloadError):
            await served.reload(net.settings(tmp_path, changes))
        assert members == ["mx7"]
