"""A whole daemon, with real sockets, store and network, as the commands see it."""

import signal
from pathlib import Path

import pytest

from postfix_mta_sts.admin.client import ControlClient
from tests.support.control import Operator
from tests.support.daemons import PATIENCE, daemon, process
from tests.support.internet import Internet, internet
from tests.support.policy_host import ok, policy_text, reply

SOCKET = "control.sock"


async def test_life_of_a_policy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Asked for by Postfix, listed, shown, renewed, failing, forgotten: all by commands."""
    async with internet(tmp_path) as net, daemon(net, tmp_path) as running:
        operator = Operator(tmp_path / SOCKET, capsys)
        assert (await operator.run("policy", "show", "good.test")).code == 1
        net.publish("good.test")
        await running.ask("good.test")
        await running.ask("good.test")
        status = (await operator.run("status", "--json")).json
        assert status["policies"]["by_mode"]["enforce"] == 1
        assert status["lookups"]["by_source"] == {
            "memory": 1,
            "store": 0,
            "network": 1,
            "none": 0,
        }
        assert status["not_working"] == []
        listed = await operator.run("policy", "list")
        assert [row[:2] for row in listed.rows[1:]] == [["good.test", "enforce"]]
        await renewed(operator, net)
        await forgotten(operator, net)


async def renewed(operator: Operator, net: Internet) -> None:
    """A refresh fetches what is published now, and one that fails leaves it in force."""
    text = policy_text(mode="testing", mx=["mx2.good.test"])
    net.publish("good.test", ok(text))
    done = await operator.run("policy", "refresh", "good.test")
    assert (done.code, net.gets("good.test")) == (0, 2)
    net.publish("good.test", reply(404))
    assert (await operator.run("policy", "refresh", "good.test")).code == 2
    known = (await operator.run("policy", "show", "good.test", "--json")).json
    assert (known["in_force"], known["policy"]["mode"]) == (True, "testing")
    assert (known["failure"]["code"], known["failure"]["stage"]) == ("status", "https")
    assert [seen["mode"] for seen in known["history"]] == ["testing", "enforce"]
    assert "status" in (await operator.run("policy", "list", "--failing")).rows[1]


async def forgotten(operator: Operator, net: Internet) -> None:
    """What is forgotten is fetched again by who asks next, and its past is gone."""
    assert (await operator.run("policy", "forget", "good.test")).code == 0
    assert (await operator.run("policy", "show", "good.test")).code == 1
    net.publish("good.test")
    assert (await operator.run("policy", "refresh", "good.test")).code == 0
    known = (await operator.run("policy", "show", "good.test", "--json")).json
    assert [seen["mode"] for seen in known["history"]] == ["enforce"]


async def test_workers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whichever worker is asked speaks for all, and what it is told reaches all."""
    async with internet(tmp_path) as net:
        net.publish("good.test")
        async with process(tmp_path, net.config(tmp_path), workers=3) as served:
            await served.start()
            async with served.clients(30) as clients:
                for client in clients:
                    await client.ask("good.test")
            operator = Operator(tmp_path / SOCKET, capsys)
            for _ in range(3):
                status = (await operator.run("status", "--json")).json
                assert len(status["processes"]["answering"]) == 3
                assert sum(status["lookups"]["by_source"].values()) == 30
            net.publish("good.test", policy_id="id2", answer=ok(policy_text(mode="testing")))
            assert (await operator.run("policy", "refresh", "good.test")).code == 0
            async with served.clients(30) as clients:
                assert {await client.ask("good.test") for client in clients} == {b"NOTFOUND "}
            assert (await operator.run("policy", "forget", "good.test")).code == 0
            for _ in range(3):
                assert (await operator.run("policy", "show", "good.test")).code == 1
            assert await served.stop() == 0
    assert not list(tmp_path.glob("control*.sock"))


async def test_private_sockets(tmp_path: Path) -> None:
    """The sockets between workers are for the daemon's own user alone."""
    async with internet(tmp_path) as net:
        config = net.config(tmp_path, {"control": {"mode": "0666"}})
        async with process(tmp_path, config, workers=2) as served:
            await served.start()
            modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.glob("*.sock")}
    assert modes == {SOCKET: 0o666, "control.0.sock": 0o600, "control.1.sock": 0o600}


async def test_killed_daemon(tmp_path: Path) -> None:
    """What a daemon that was killed leaves behind hinders neither the next one nor a command."""
    async with internet(tmp_path) as net, process(tmp_path, net.config(tmp_path)) as served:
        await served.start()
        served.signal(signal.SIGKILL)
        await served.ended()
        assert (tmp_path / SOCKET).exists()
        await served.start()
        assert ControlClient(tmp_path / SOCKET, PATIENCE).ask("GET", "status")["pid"] == served.pid
