"""The commands and a whole daemon, with real sockets, store and network."""

import signal
from pathlib import Path

import pytest

from postfix_mta_sts.admin.client import ControlClient
from tests.support.control import Operator
from tests.support.daemons import TIMEOUT, daemon, process
from tests.support.internet import Internet, internet
from tests.support.policy_host import ok, policy_text, reply

SOCKET = "control.sock"


async def test_life_of_a_policy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Commands list, show, refresh and forget a policy that Postfix has asked for."""
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
            "fleet": 0,
            "none": 0,
        }
        assert status["not_working"] == []
        listed = await operator.run("policy", "list")
        assert [row[:3] for row in listed.rows[1:]] == [["good.test", "secure", "enforce"]]
        await check_refresh(operator, net)
        await check_forget(operator, net)


async def check_refresh(operator: Operator, net: Internet) -> None:
    """A refresh fetches the published policy; one that fails leaves the policy in force."""
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


async def check_forget(operator: Operator, net: Internet) -> None:
    """A policy that was forgotten is fetched again, and its history is gone."""
    assert (await operator.run("policy", "forget", "good.test")).code == 0
    assert (await operator.run("policy", "show", "good.test")).code == 1
    net.publish("good.test")
    assert (await operator.run("policy", "refresh", "good.test")).code == 0
    known = (await operator.run("policy", "show", "good.test", "--json")).json
    assert [seen["mode"] for seen in known["history"]] == ["enforce"]


async def test_socket_mode(tmp_path: Path) -> None:
    """The control socket has the configured mode, and is removed at the end."""
    async with internet(tmp_path) as net:
        config = net.config(tmp_path, {"control": {"mode": "0666"}})
        async with process(tmp_path, config) as served:
            await served.start()
            modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.glob("*.sock")}
            assert modes == {SOCKET: 0o666}
            assert await served.stop() == 0
    assert not (tmp_path / SOCKET).exists()


async def test_killed_daemon(tmp_path: Path) -> None:
    """The socket file of a daemon that was killed hinders neither the next daemon nor a command."""
    async with internet(tmp_path) as net, process(tmp_path, net.config(tmp_path)) as served:
        await served.start()
        served.signal(signal.SIGKILL)
        await served.ended()
        assert (tmp_path / SOCKET).exists()
        await served.start()
        assert ControlClient(tmp_path / SOCKET, TIMEOUT).ask("GET", "status")["pid"] == served.pid
