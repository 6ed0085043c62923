"""`query` on a machine with Postfix: what that does with the daemon's answers, and its queue."""

import json
import time
from pathlib import Path

import pytest

from tests.support.commands import Commands, Done
from tests.support.daemons import daemon
from tests.support.internet import Internet
from tests.support.postfix_programs import OURS, PostfixPrograms

SECURE = "OK secure match=mx1.good.test servername=hostname"


class Relay:
    """The Postfix of this machine, and queries that find it."""

    def __init__(self, net: Internet, folder: Path, commands: Commands) -> None:
        self.ours = OURS.format(folder=folder)
        self._net, self._folder, self._commands = net, folder, commands

    def postfix(self, monkeypatch: pytest.MonkeyPatch, **parameters: str) -> PostfixPrograms:
        """A Postfix with this main.cf; by default it asks the daemon, and has CA certificates."""
        usual = {"smtp_tls_policy_maps": self.ours, "smtp_tls_CAfile": str(self._net.ca_file)}
        made = PostfixPrograms(self._folder / "bin", **usual | parameters)
        made.use(monkeypatch)
        return made

    async def query(self, *options: str) -> Done:
        """Ask for good.test."""
        return await self._commands.query(self._net, self._folder, "good.test", *options)


@pytest.fixture
def relay(net: Internet, tmp_path: Path, commands: Commands) -> Relay:
    """A relay, and good.test with a policy."""
    net.publish("good.test")
    return Relay(net, tmp_path, commands)


async def test_asks_the_daemon(
    relay: Relay, net: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Postfix that is set up as the README says."""
    relay.postfix(monkeypatch)
    async with daemon(net, tmp_path):
        done = await relay.query()
    assert (done.code, done.steps("fault")) == (0, [])
    assert done.steps("Postfix") == [
        f"3.10.13, level may, asks map postfix; CA certificates: {net.ca_file}"
    ]


async def test_a_map_name_that_the_settings_do_not_have(
    relay: Relay, net: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon answers such a name, too, whether it knows the domain already or not."""
    own = f"{relay.ours.rpartition(':')[0]}:own"
    relay.postfix(monkeypatch, smtp_tls_policy_maps=own)
    async with daemon(net, tmp_path) as running:
        for source in ("network", "daemon"):
            done = await relay.query("--json")
            found = json.loads(done.out)
            assert (done.code, found["source"], found["reply"]) == (0, source, SECURE)
            assert dict(found["replies"])["own"] == SECURE
            assert found["daemon"]["reply"] == (SECURE if source == "daemon" else None)
            await running.ask("good.test")


async def test_does_not_ask(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Postfix without the map follows no policy, which is your fault."""
    relay.postfix(monkeypatch, smtp_tls_policy_maps="")
    done = await relay.query()
    assert done.code == 1
    assert done.lines[0] == (
        "Mail to good.test is delivered without protection: "
        "it has a policy, but this Postfix does not ask for policies"
    )
    assert done.steps("fault") == ["yours"]
    assert any("smtp_tls_policy_maps = socketmap:" in each for each in done.steps("do"))
    found = json.loads((await relay.query("--json")).out)
    assert (found["source"], found["reply"], found["network"]["mode"]) == (
        "main.cf",
        None,
        "enforce",
    )


async def test_the_daemon_does_not_run(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Postfix that asks a daemon that does not run holds all mail."""
    relay.postfix(monkeypatch)
    done = await relay.query()
    assert done.code == 2
    assert done.lines[0] == (
        "Mail to good.test is held: Postfix asks the daemon first, and the daemon does not run"
    )
    assert done.steps("fault") == ["yours"]
    assert done.steps("do")[0] == "start the daemon: systemctl start postfix-mta-sts"


@pytest.mark.parametrize("runs", [True, False], ids=["running", "stopped"])
async def test_an_entry_before_ours(
    relay: Relay, net: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, runs: bool
) -> None:
    """An entry of a table before the daemon's decides, whether the daemon runs or not."""
    maps = f"texthash:/etc/policy, {relay.ours}"
    relay.postfix(monkeypatch, smtp_tls_policy_maps=maps).table({"good.test": "may"})
    if runs:
        async with daemon(net, tmp_path):
            done = await relay.query()
    else:
        done = await relay.query()
    assert done.code == 1
    assert done.lines[0] == (
        "Mail to good.test is delivered without protection: "
        "texthash:/etc/policy has an entry that comes before its policy"
    )
    assert done.steps("fault") == ["yours"]
    assert done.steps("table") == ["texthash:/etc/policy has good.test: may"]
    assert done.steps("in force") == ["the entry of another table, which comes before the daemon's"]


async def test_dane_in_another_table(
    relay: Relay, net: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry that demands DANE has the TLSA records looked up, though the daemon does not."""
    net.vouch("good.test")
    maps = f"texthash:/etc/policy, {relay.ours}"
    postfix = relay.postfix(monkeypatch, smtp_tls_policy_maps=maps, smtp_dns_support_level="dnssec")
    postfix.table({"good.test": "dane-only"})
    found = json.loads((await relay.query("--json")).out)
    assert (found["verdict"]["flow"], found["source"]) == ("dane", "table")
    assert [host["state"] for host in found["dane"]["hosts"]] == ["usable"]


async def test_a_parent_in_another_table(
    relay: Relay, net: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry for a parent domain comes after the daemon's answer for the domain itself."""
    maps = f"texthash:/etc/policy, {relay.ours}"
    relay.postfix(monkeypatch, smtp_tls_policy_maps=maps).table({".test": "may"})
    async with daemon(net, tmp_path):
        done = await relay.query()
    assert (done.code, done.steps("answer")) == (0, [SECURE])


async def test_a_table_that_fails(
    relay: Relay, net: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Postfix holds all mail if a table before ours cannot be read."""
    relay.postfix(monkeypatch, smtp_tls_policy_maps=f"hash:/etc/gone, {relay.ours}")
    async with daemon(net, tmp_path):
        done = await relay.query()
    assert done.code == 2
    assert done.steps("fault") == ["yours"]
    assert "hash:/etc/gone: open hash:/etc/gone" in done.lines[0]


@pytest.mark.parametrize(("version", "code"), [("3.7.11", 2), ("3.10.13", 0)])
async def test_attributes_for_reports(
    relay: Relay,
    net: Internet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: str,
    code: int,
) -> None:
    """Postfix before 3.10 does not know the attributes of the TLSRPT map, and holds all mail."""
    maps = relay.ours.removesuffix("postfix") + "QUERYwithTLSRPT"
    relay.postfix(monkeypatch, smtp_tls_policy_maps=maps, mail_version=version)
    async with daemon(net, tmp_path):
        done = await relay.query()
    assert done.code == code
    if code:
        assert done.steps("fault") == ["yours"]
        assert "this Postfix does not accept the answer of its table" in done.lines[0]


async def test_what_waits(
    relay: Relay, net: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The messages in the queue are counted, with the age of the oldest and the reasons."""
    reason = "Server certificate not verified"
    now = int(time.time())
    relay.postfix(monkeypatch).queue(
        {
            "arrival_time": now - 7200,
            "recipients": [{"address": "a@good.test", "delay_reason": reason}],
        },
        {"arrival_time": now - 60, "recipients": [{"address": "b@GOOD.test"}]},
        {"arrival_time": now - 90, "recipients": [{"address": "a@sub.good.test"}]},
    )
    async with daemon(net, tmp_path):
        done = await relay.query()
    (waiting,) = done.steps("waiting")
    assert waiting.startswith("2 messages, the oldest for 2h")
    assert done.lines.index("") > done.lines.index(f"            {reason}")


async def test_through_postfix(
    relay: Relay, net: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--through-postfix` shows the words of the running Postfix."""
    status = "undeliverable (Server certificate not verified)"
    relay.postfix(monkeypatch).probes(status)
    async with daemon(net, tmp_path):
        done = await relay.query("--through-postfix")
    (probed,) = done.steps("probed")
    assert probed == (
        "Postfix says undeliverable 4.7.5 at mx1.good.test[192.0.2.1]:25: "
        "Server certificate not verified"
    )


async def test_mail_takes_another_way(
    relay: Relay, net: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a relayhost the policies of recipients' domains do not apply, and that is said."""
    relay.postfix(monkeypatch, relayhost="[smart.test]")
    async with daemon(net, tmp_path):
        done = await relay.query()
    assert any(line.startswith("            relayhost = [smart.test]: ") for line in done.lines)


async def test_a_postconf_that_fails(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """If main.cf cannot be read, the diagnosis goes on as without a Postfix."""
    folder = relay.postfix(monkeypatch).folder
    (folder / "postconf").write_text("#!/bin/sh\necho 'postconf: fatal: bad main.cf' >&2\nexit 1\n")
    done = await relay.query("--json")
    assert done.code == 0
    notes = json.loads(done.out)["postfix"]["notes"]
    assert notes == ["postconf failed: fatal: bad main.cf"]
