"""What administrators see: two daemons that share a Valkey, which is then killed."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from postfix_mta_sts.admin.client import ControlClient
from postfix_mta_sts.daemon.assembly import running
from postfix_mta_sts.daemon.daemon import Daemon
from postfix_mta_sts.mtasts.check import Check, CheckResult
from postfix_mta_sts.mtasts.domain import Domain
from tests.e2e.namespace import obstacle
from tests.e2e.trees import NoTreeError
from tests.fleet.postgresql_servers import documented
from tests.fleet.redis_servers import Flavour, RedisServer, redis_server
from tests.support.commands import Commands, Done
from tests.support.daemons import RunningDaemon, secure
from tests.support.internet import Changes, Internet, internet
from tests.support.obstacles import cannot

GOOD = "good.test"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Valkey with a user for relays."""
    if why := obstacle():
        cannot(why)
    lines = [documented("text", "user mta_sts").strip()]
    try:
        with redis_server(Flavour.VALKEY, tmp_path / "valkey", lines) as made:
            yield made
    except NoTreeError as error:
        cannot(str(error))


class Relay:
    """A relay of the fleet, and the commands of its administrator."""

    def __init__(self, daemon: Daemon, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.daemon = daemon
        self.folder = folder
        self._capsys = capsys

    async def run(self, *words: str) -> Done:
        """Run a command."""
        config = self.folder / "config.yml"
        return await asyncio.to_thread(Commands(self._capsys).run, *words, "--config", config)

    async def json(self, *words: str) -> Any:  # noqa: ANN401 (what JSON can be)
        """Run a command for programs."""
        return json.loads((await self.run(*words, "--json")).out)

    async def ready(self) -> Any:  # noqa: ANN401 (what JSON can be)
        """What /readyz says with 200."""
        client = ControlClient(self.folder / "metrics.sock")
        return await asyncio.to_thread(client.ask, "GET", "readyz")


@asynccontextmanager
async def relay(
    name: str, net: Internet, folder: Path, port: int, capsys: pytest.CaptureFixture[str]
) -> AsyncIterator[Relay]:
    """Run a relay of the Valkey at this port."""
    key = folder / "key"
    if not key.exists():
        os.close(os.open(key, os.O_CREAT, 0o600))
        key.write_text(f"{'ab' * 32}\n")
    fleet = {"url": f"valkey://mta_sts:CHANGE-THIS@127.0.0.1:{port}/0", "key_file": str(key)}
    async with relay_of(fleet, name, net, folder, capsys) as made:
        yield made


@asynccontextmanager
async def relay_of(
    fleet: Mapping[str, object],
    name: str,
    net: Internet,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> AsyncIterator[Relay]:
    """Run a relay of a fleet, whose section in the configuration this is, but for the name."""
    place = folder / name
    place.mkdir()
    changes: Changes = {
        "fleet": {**fleet, "name": name},
        "metrics": {"listen": f"unix:{place / 'metrics.sock'}"},
        "control": {"path": str(place / "control.sock")},
    }
    net.config(place, changes)
    settings = net.settings(place, changes)
    async with running(settings, {}, https_port=net.hosts.port) as daemon:
        yield Relay(daemon, place, capsys)


async def test_two_relays(
    server: RedisServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each sees what the other knows; without the store each says so, and goes on."""
    async with (
        internet(tmp_path) as net,
        relay("mx1", net, tmp_path, server.port, capsys) as one,
        relay("mx2", net, tmp_path, server.port, capsys) as two,
    ):
        net.publish(GOOD)
        assert await RunningDaemon(one.folder).ask(GOOD) == secure(GOOD)
        await shared(two)
        assert await RunningDaemon(two.folder).ask(GOOD) == secure(GOOD)
        assert len(net.hosts.requests) == 1

        shown = await two.json("policy", "show", GOOD)
        assert (shown["shared"]["state"], shown["shared"]["policy"]["fetched_by"]) == (
            "same",
            "mx1",
        )

        await check(one)
        report = await two.json("trial", "report")
        assert [each["outcome"] for each in report["domains"]] == ["held"]

        history = await two.run("policy", "history", GOOD)
        assert (len(history.lines), history.err) == (2, "")

        status = await two.json("status")
        assert (status["fleet"]["ok"], status["degraded"], status["not_working"]) == (True, [], [])
        assert (await two.run("healthcheck")).err == ""

        await announced(two, 2)
        lines = (await two.run("status", "--fleet")).lines
        assert [line.split()[0] for line in lines[1:3]] == ["mx1", "mx2"]
        assert lines[2].split()[1] == "(here)"
        assert "2 relays, none is silent" in lines[-1]

        server.server.kill()
        await two.run("status", "--fleet")
        lost = await two.run("status", "--fleet")
        assert (lost.code, "NOT REACHED" in lost.out) == (2, True)
        assert "the relays are not known" in lost.err
        status = await two.json("status")
        assert (status["degraded"], status["not_working"]) == (["fleet"], [])
        assert "CHANGE-THIS" not in json.dumps(status)
        ready = await two.ready()
        assert (ready["ok"], ready["degraded"]) == (True, ["fleet"])
        healthy = await two.run("healthcheck")
        assert (healthy.code, "fleet not reached" in healthy.err) == (0, True)
        nagios = await two.run("status", "--nagios")
        assert (nagios.code, "fleet not reached" in nagios.out) == (0, True)
        history = await two.run("policy", "history", GOOD)
        assert (len(history.lines), "are missing" in history.err) == (2, True)
        report = await two.json("trial", "report")
        assert "checks of other relays are missing" in report["summary"]["sentence"]


async def shared(relay: Relay) -> None:
    """Wait until the shared store has the policy."""
    async with asyncio.timeout(60):
        while not (await relay.json("policy", "show", GOOD))["shared"]["policy"]:  # noqa: ASYNC110 (no event)
            await asyncio.sleep(0.05)


async def announced(relay: Relay, number: int) -> None:
    """Wait until so many relays have said that they are there."""
    async with asyncio.timeout(60):
        while len((await relay.json("status", "--fleet"))["relays"]) < number:  # noqa: ASYNC110 (no event)
            await asyncio.sleep(0.1)


async def check(relay: Relay) -> None:
    """Let a relay check the domain now."""
    now = relay.daemon.constants.clock()
    domain, fault = Domain(GOOD), "theirs"
    found = Check(domain, CheckResult.HELD, "Mail is held", "tls", fault, "id1", now, now)
    await relay.daemon.backend.fleet_calls.offer_check(found)
