"""The whole daemon: a policy that became weaker runs the command of the administrator, once."""

import asyncio
import json
from pathlib import Path

import pytest

from postfix_mta_sts.admin.client import ControlClient
from tests.support.daemons import NOT_FOUND, daemon, reloading, secure, until
from tests.support.internet import Internet
from tests.support.policy_host import ok, policy_text
from tests.support.scripts import script


@pytest.fixture
def told(tmp_path: Path) -> Path:
    """The file to which the command adds each event."""
    return tmp_path / "told"


@pytest.fixture
def command(told: Path, tmp_path: Path) -> dict[str, dict[str, object]]:
    """A configuration with a command that adds its input to the file."""
    return {"alerts": {"command": [script(tmp_path / "tell", f"cat >> {told}")]}}


def weaken(net: Internet) -> None:
    """Let good.test leave mode enforce."""
    text = policy_text(mode="testing", mx=["mx1.good.test"])
    net.publish("good.test", ok(text), policy_id="id2")


async def test_while_the_daemon_was_stopped(
    net: Internet, tmp_path: Path, told: Path, command: dict[str, dict[str, object]]
) -> None:
    """What changed meanwhile is told after the start, and after the next start not again."""
    async with daemon(net, tmp_path, changes=command) as running:
        assert await running.ask("good.test") == secure("good.test")
    weaken(net)
    async with daemon(net, tmp_path, changes=command) as running:
        await running.ask("good.test")
        await until(lambda: told.exists() and told.read_bytes().endswith(b"\n"))
        assert await running.ask("good.test") == NOT_FOUND
    async with daemon(net, tmp_path, changes=command) as running:
        assert await running.ask("good.test") == NOT_FOUND
    (event,) = map(json.loads, told.read_text().splitlines())
    assert (event["domain"], event["kind"], event["id"]) == ("good.test", "mode", "id2")


async def test_a_command_that_hangs(net: Internet, tmp_path: Path, told: Path) -> None:
    """It is in the way of no reply and not of the stop, which ends it; the store has the event."""
    hang = script(tmp_path / "hang", f"echo $$ > {told}.new; mv {told}.new {told}; sleep 1000")
    client = ControlClient(tmp_path / "control.sock")
    async with reloading(net, tmp_path) as (running, served):
        assert await running.ask("good.test") == secure("good.test")
        await served.reload(net.settings(tmp_path, {"alerts": {"command": [hang]}}))
        weaken(net)
        answer = await asyncio.to_thread(client.ask, "POST", "policies", "good.test", "refresh")
        assert answer["policy"]["mode"] == "testing"
        await until(told.exists)
        assert await running.ask("good.test") == NOT_FOUND
        (event,) = await asyncio.to_thread(lambda: list(client.lines("history")))
        assert (event["domain"], event["after"]) == ("good.test", "testing")
    assert not Path(f"/proc/{int(told.read_text())}").exists()
