"""The whole daemon with real sockets, DNS packets, HTTPS and a store file: its replies."""

import asyncio
import itertools
import re
import socket
from pathlib import Path
from types import MappingProxyType

import pytest

from postfix_mta_sts.cli.parser import DEFAULT_CONFIG
from postfix_mta_sts.sockets import ListenError
from tests.support.clients import connected
from tests.support.daemons import (
    NOT_FOUND,
    daemon,
    process,
    reloading,
    secure,
    until,
)
from tests.support.dns import Fault
from tests.support.internet import AS_IT_IS, Changes, Internet
from tests.support.policy_host import black_hole, ok, policy_text

both_loops = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])


class TestAnswers:
    """The replies that Postfix gets over each protocol."""

    @both_loops
    async def test_each_protocol_and_reply_format(self, net: Internet, tmp_path: Path) -> None:
        """One look-up in the network serves all listeners, each in its own format."""
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
        """A domain without a record is not found, and is queried once."""
        async with daemon(net, tmp_path) as running:
            assert [await running.ask("other.test") for _ in range(2)] == [NOT_FOUND] * 2
            assert await running.get("other.test") == b"500 not%20found"
        assert net.queries("other.test") == 1
        assert net.hosts.connections.total == 0

    async def test_maps(self, net: Internet, tmp_path: Path) -> None:
        """Map names of the configuration have their configured format."""
        net.publish("soft.test", ok(policy_text("testing", mx=["mx1.soft.test"])))
        maps = {"strict": {"enforce_testing": True}, "old": {"servername": False}}
        async with daemon(net, tmp_path, changes={"maps": maps}) as running:
            assert await running.ask("soft.test") == NOT_FOUND
            assert await running.ask("soft.test", "strict") == secure("soft.test")
            assert await running.ask("good.test", "old") == b"OK secure match=mx1.good.test"

    async def test_a_dns_failure(self, net: Internet, tmp_path: Path) -> None:
        """If the DNS fails, mail flows, unless dns.on_failure is defer."""
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
            assert await running.ask("other.test") == NOT_FOUND  # sent last, answered first
            assert not any(task.done() for task in asked)
            net.hosts.release()
            assert set(await asyncio.gather(*asked)) == {secure("good.test")}
        assert (net.queries("good.test"), net.gets("good.test")) == (1, 1)
        assert net.dns.queries["mta-sts.good.test", "A"] == 1

    async def test_a_black_hole_delays_no_other_domain(self, net: Internet, tmp_path: Path) -> None:
        """A Policy Host that does not answer delays only the look-ups for its domain."""
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
        """A look-up ends after lookup.timeout, however long the GET may take."""
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

    async def test_private_addresses_by_reload(self, net: Internet, tmp_path: Path) -> None:
        """A reload applies a new list of prefixes in which Policy Hosts may be."""
        replies = []
        async with reloading(net, tmp_path) as (running, served):
            for number, prefixes in enumerate((["10.0.0.0/8"], ["127.0.0.0/8"], [])):
                net.publish(f"n{number}.test")
                changes = {"https": {"allow_private_addresses": prefixes}}
                await served.reload(net.settings(tmp_path, changes))
                replies.append(await running.ask(f"n{number}.test"))
        assert replies == [NOT_FOUND, secure("n1.test"), NOT_FOUND]

    async def test_clock_set_at_the_start(
        self, net: Internet, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A clock that is set while the daemon starts, as at boot, is noticed at once."""
        readings = itertools.chain([0.0], itertools.repeat(1e9))
        async with daemon(net, tmp_path, clock=lambda: next(readings)) as running:
            assert await running.ask("good.test") == secure("good.test")
            # Less the seconds that the start took.
            pattern = r"clock was set seconds=(1000000000|99999999\d)\b"
            await until(lambda: re.search(pattern, caplog.text) is not None)

    async def test_counts_its_tasks(self, net: Internet, tmp_path: Path) -> None:
        """The snapshot counts the tasks of the event loop that have not ended."""
        few, many = 50, 1_000  # few: those of the daemon and of the test's servers
        async with reloading(net, tmp_path) as (_, served):
            async with asyncio.TaskGroup() as group:
                end = asyncio.Event()
                for _ in range(many):
                    group.create_task(end.wait())
                assert many < (await served.snapshot()).tasks < many + few
                end.set()
            assert 0 < (await served.snapshot()).tasks < few

    async def test_address_in_use(self, net: Internet, tmp_path: Path) -> None:
        """A second daemon at the same address ends with an error, and leaves the socket files."""
        async with daemon(net, tmp_path) as running:
            with pytest.raises(ListenError, match="another process is listening on it"):
                async with daemon(net, tmp_path):
                    pass
            assert await running.ask("good.test") == secure("good.test")
        assert not running.socketmap.exists()

    async def test_without_a_configuration(self, tmp_path: Path) -> None:
        """Without a file the daemon listens on the default port and uses the state directory."""
        address = ("127.0.0.1", 8461)
        with socket.socket() as probe:
            taken = probe.connect_ex(address) == 0
        if taken or DEFAULT_CONFIG.exists():
            pytest.skip("this machine has its own daemon or configuration")
        async with process(tmp_path, None) as served:
            await served.start(XDG_STATE_HOME=str(tmp_path), STATE_DIRECTORY="")
            async with connected(address) as client:
                assert await client.ask(".parent.test") == NOT_FOUND
            assert await served.stop() == 0
        assert (tmp_path / "postfix-mta-sts" / "policies.db").exists()


class TestDane:
    """Domains with both DANE and a policy."""

    ON: Changes = MappingProxyType({"dane": {"mode": "on"}})

    @both_loops
    async def test_before_the_policy(self, net: Internet, tmp_path: Path) -> None:
        """DANE comes before the policy, from the first reply on; without DANE the policy counts."""
        net.vouch("good.test")
        net.publish("other.test")
        async with daemon(net, tmp_path, changes=self.ON) as running:
            assert (
                await running.ask("good.test") == await running.ask("good.test") == b"OK dane-only"
            )
            assert await running.ask("other.test") == secure("other.test")

    @both_loops
    async def test_reload(self, net: Internet, tmp_path: Path) -> None:
        """A reload turns DANE on and off, and changes how it is answered."""
        net.vouch("good.test")
        yielding = {"dane": {"mode": "on", "answer": "yield"}}
        async with reloading(net, tmp_path) as (running, served):
            replies = [await running.ask("good.test")]
            for changes in (self.ON, yielding, AS_IT_IS):
                await served.reload(net.settings(tmp_path, changes))
                replies.append(await running.ask("good.test"))
        assert replies == [secure("good.test"), b"OK dane-only", NOT_FOUND, secure("good.test")]

    async def test_name_server_that_does_not_validate(self, net: Internet, tmp_path: Path) -> None:
        """DANE is off: MX records are not queried, and `status` shows the reason."""
        net.vouch("good.test")
        net.dns.signed.clear()
        async with reloading(net, tmp_path) as (running, served):
            await served.reload(net.settings(tmp_path, self.ON))
            assert await running.ask("good.test") == secure("good.test")
            dane = (await served.control.status())["dane"]
        assert not dane["on"]
        assert dane["reason"] == f"does not validate: name server {net.dns.address}"
        assert net.dns.queries["good.test", "MX"] == 0

    async def test_restart_without_dns(self, net: Internet, tmp_path: Path) -> None:
        """A stored verdict counts while no name server answers: the policy does not override it."""
        net.vouch("good.test")
        async with daemon(net, tmp_path, changes=self.ON) as running:
            assert await running.ask("good.test") == b"OK dane-only"
        net.vanish(Fault.REFUSED)
        async with daemon(net, tmp_path, changes=self.ON) as running:
            assert await running.ask("good.test") == b"OK dane-only"


class TestAdministration:
    """Exceptions of the configuration, and the trial."""

    EXCEPTIONS: Changes = MappingProxyType(
        {
            "exceptions": {
                "good.test": {"use": "may", "reason": "x", "forever": True},
                "*.good.test": {"use": "pin", "mx": ["mx.a.test"], "reason": "x", "forever": True},
                "other.test": {"use": "encrypt", "reason": "x", "until": "2020-01-01"},
            }
        }
    )

    async def test_start(
        self, net: Internet, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """They are in force from the first look-up on; one that has ended is a warning."""
        net.publish("other.test")
        async with daemon(net, tmp_path, changes=self.EXCEPTIONS) as running:
            assert await running.ask("good.test") == b"OK may"
            assert await running.ask("a.b.good.test") == secure("a.test").replace(b"mx1.", b"mx.")
            assert await running.ask("other.test") == secure("other.test")
        text = "other.test: exception of the configuration has ended, remove it"
        assert any(text in each for each in caplog.messages)
        assert net.queries("a.b.good.test") <= 1

    async def test_reload(self, net: Internet, tmp_path: Path) -> None:
        """A reload changes both, also for look-ups whose reply is remembered."""
        trial: Changes = {"trial": {"enabled": True}}
        one_map: Changes = {**trial, "maps": {"strict": {"trial": False}}}
        async with reloading(net, tmp_path) as (running, served):
            replies = [await running.ask("good.test", "strict")]
            for changes in (self.EXCEPTIONS, trial, one_map, AS_IT_IS):
                await served.reload(net.settings(tmp_path, changes))
                replies.append(await running.ask("good.test", "strict"))
        policy = secure("good.test")
        assert replies == [policy, b"OK may", NOT_FOUND, policy, policy]
