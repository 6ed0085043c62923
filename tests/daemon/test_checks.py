"""The whole daemon makes checks behind its replies: for a trial, and for exceptions."""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from postfix_mta_sts.daemon import checks as checks_module
from postfix_mta_sts.daemon.assembly import running
from postfix_mta_sts.daemon.daemon import Daemon
from postfix_mta_sts.mtasts.check import CANNOT_CHECK, CheckResult
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.exceptions import Exceptions, PolicyException
from postfix_mta_sts.mtasts.lifecycle import DAY
from postfix_mta_sts.resolver.trial import Wanted
from postfix_mta_sts.stats.labels import Purpose
from tests.support.daemons import NOT_FOUND, TIMEOUT, Clock, RunningDaemon, secure, until
from tests.support.exceptions import configured, exception
from tests.support.internet import AS_IT_IS, Changes, Internet, authority
from tests.support.postfix_programs import hide_postfix
from tests.support.smtp_host import SILENCE, SmtpHost
from tests.support.surroundings import policy

ON_TRIAL: Changes = {"trial": {"enabled": True}}
GOOD, BAD = Domain("good.test"), Domain("bad.test")
TRIAL, EXCEPTION = Purpose.TRIAL, Purpose.EXCEPTION
DELIVERED, HELD, UNKNOWN = CheckResult.DELIVERED, CheckResult.HELD, CheckResult.UNKNOWN


@pytest.fixture(autouse=True)
def surroundings(net: Internet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No Postfix and no CA of the machine counts, and checks start soon."""
    hide_postfix(monkeypatch, tmp_path / "empty")
    monkeypatch.setattr(checks_module, "PAUSE", 0.02)
    monkeypatch.setattr(checks_module, "PATIENCE", 0.02)
    monkeypatch.setenv("SSL_CERT_FILE", str(net.ca_file))


@asynccontextmanager
async def checking(
    net: Internet,
    folder: Path,
    host: SmtpHost,
    changes: Changes = ON_TRIAL,
    clock: Callable[[], float] | None = None,
) -> AsyncIterator[tuple[RunningDaemon, Daemon]]:
    """Run the daemon, whose checks find this host behind all names of mail servers."""
    settings = net.settings(folder, changes)
    ports = net.hosts.port, host.port
    async with running(
        settings, {}, clock or Clock(), https_port=ports[0], smtp_port=ports[1]
    ) as daemon:
        yield RunningDaemon(folder), daemon


async def checks(daemon: Daemon, number: int = 1) -> dict[tuple[Purpose, CheckResult], int]:
    """Wait until so many checks were made; return how many ended how."""
    found = daemon.backend.counters.checks
    async with asyncio.timeout(TIMEOUT):
        while found.total() < number or daemon.frontend.checks.running:  # noqa: ASYNC110 (no event)
            await asyncio.sleep(0.01)
    return dict(found)


async def result(daemon: Daemon, domain: Domain) -> CheckResult | None:
    """The result that was kept."""
    check = await daemon.backend.store.check(domain)
    return check.result if check else None


def good_host() -> SmtpHost:
    """A mail server with a certificate for mx1.good.test."""
    return SmtpHost(authority().issue("mx1.good.test"))


def use(daemon: Daemon, *found: PolicyException) -> None:
    """Put exceptions in force."""
    daemon.frontend.maps.use_exceptions(Exceptions(configured(*found)))


def child_of(daemon: Daemon) -> int:
    """The process id of its network process."""
    process = daemon.backend.network._supervisor.current
    assert process
    assert process.pid
    return process.pid


class TestTrial:
    """Domains with an enforced policy that are asked for in a map on trial."""

    async def test_results(
        self, net: Internet, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What would be held is kept with its reason, and logged; the answer waits for nothing."""
        net.publish("bad.test")
        caplog.set_level(logging.INFO)
        async with good_host() as host, checking(net, tmp_path, host) as (asked, daemon):
            assert await asked.ask("good.test") == NOT_FOUND
            assert await asked.ask("bad.test") == NOT_FOUND
            assert await checks(daemon, 2) == {(TRIAL, DELIVERED): 1, (TRIAL, HELD): 1}
            held = await daemon.backend.store.check(BAD)
            assert await result(daemon, GOOD) is DELIVERED
            snapshot = await daemon.snapshot()
        assert held
        assert (held.cause, held.fault, held.policy_id) == (
            "certificate-wrong-name",
            "theirs",
            "id1",
        )
        assert "certificate" in held.sentence
        assert snapshot.checks.total() == 2
        lines = [each.getMessage() for each in caplog.records if "held" in each.getMessage()]
        assert len(lines) == 1
        assert lines[0].startswith("bad.test: mail would be held reason=")

    async def test_refused_connections(self, net: Internet, tmp_path: Path) -> None:
        """They may be refused by a firewall here, unless a server of another domain has answered.

        A daemon that was restarted knows of it.
        """
        net.publish("bad.test")
        net.publish("worse.test")
        for name in ("mx1.bad.test A", "mx1.worse.test A"):
            net.dns.zone[name] = ["127.0.0.2"]  # nothing listens there
        async with good_host() as host:
            async with checking(net, tmp_path, host) as (asked, daemon):
                await asked.ask("bad.test")
                assert await checks(daemon) == {(TRIAL, UNKNOWN): 1}
                await asked.ask("good.test")
                await checks(daemon, 2)
            async with checking(net, tmp_path, host) as (asked, daemon):
                await asked.ask("worse.test")
                assert await checks(daemon) == {(TRIAL, HELD): 1}

    async def test_refused_first(
        self, net: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A refusal comes at once: it is decided when others have had the time to answer."""
        monkeypatch.setattr(checks_module, "PATIENCE", TIMEOUT)
        net.publish("bad.test")
        net.dns.zone["mx1.bad.test A"] = ["127.0.0.2"]  # nothing listens there
        async with good_host() as host, checking(net, tmp_path, host) as (asked, daemon):
            await asked.ask("bad.test")
            await asked.ask("good.test")
            assert await checks(daemon, 2) == {(TRIAL, DELIVERED): 1, (TRIAL, HELD): 1}

    async def test_what_is_not_checked(self, net: Internet, tmp_path: Path) -> None:
        """Neither a domain without an enforced policy, nor one asked for without a trial."""
        async with good_host() as host, checking(net, tmp_path, host, AS_IT_IS) as (asked, daemon):
            assert await asked.ask("good.test") == secure("good.test")
            assert not daemon.backend.resolver.usage.take_checks()
        net.dns.zone["_mta-sts.soft.test TXT"] = ['"v=STSv1; id=1;"']
        async with good_host() as host, checking(net, tmp_path, host) as (asked, daemon):
            await asked.ask("other.test")
            await asked.ask("soft.test")
            await asked.ask("good.test")
            assert await checks(daemon) == {(TRIAL, DELIVERED): 1}

    async def test_once_in_a_while(self, net: Internet, tmp_path: Path) -> None:
        """A domain that is asked for again, from the cache, is checked again after `trial.every`.

        A restart in between changes nothing.
        """
        clock = Clock()
        async with good_host() as host:
            async with checking(net, tmp_path, host, clock=clock) as (asked, daemon):
                await asked.ask("good.test")
                await checks(daemon)
                await asked.ask("good.test")
            async with checking(net, tmp_path, host, clock=clock) as (asked, daemon):
                schedule = daemon.frontend.checks._schedule
                await until(lambda: not schedule.is_due(GOOD, 6 * 3_600, clock.now))
                clock.now += 6 * 3_600
                await asked.ask("good.test")
                await asked.ask("good.test")
                await daemon.frontend.refresher.write_usage()
                assert await checks(daemon) == {(TRIAL, DELIVERED): 1}
        assert host.connections == 2


class TestExceptions:
    """Domains whose policy an exception replaces."""

    async def test_needed_no_longer(
        self, net: Internet, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Once a day the policy is tried; that it would verify again is logged once."""
        caplog.set_level(logging.INFO)
        clock, changes = Clock(), {"trial": {"enabled": False}}
        async with SmtpHost() as bad, checking(net, tmp_path, bad, changes, clock) as (asked, d):
            use(d, exception("good.test", None))
            assert await asked.ask("good.test") == NOT_FOUND
            assert await checks(d) == {(EXCEPTION, HELD): 1}
        clock.now += DAY
        async with good_host() as host, checking(net, tmp_path, host, changes, clock) as (_, d):
            # Nobody asks for it, and its policy is on file.
            use(d, exception("good.test", None))
            d.frontend.checks.reconfigure(d.frontend.checks._settings)
            assert await checks(d) == {(EXCEPTION, DELIVERED): 1}
            clock.now += DAY
            d.frontend.checks.reconfigure(d.frontend.checks._settings)
            assert await checks(d, 2) == {(EXCEPTION, DELIVERED): 2}
            kept = await d.backend.store.check(GOOD)
        assert kept
        assert kept.since == kept.checked_at - DAY
        lines = [each.getMessage() for each in caplog.records if "verify" in each.getMessage()]
        assert len(lines) == 1
        assert lines[0].startswith("good.test: domain would verify again since=2")

    async def test_below_a_wildcard(
        self, net: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The domains that are asked for are checked, also from the cache."""
        async with good_host() as host, checking(net, tmp_path, host, AS_IT_IS) as (asked, daemon):
            use(daemon, exception("*.test", None))
            await asked.ask("good.test")
            assert await checks(daemon) == {(EXCEPTION, DELIVERED): 1}
            await asked.ask("good.test")
            await asked.ask("good.test")
            usage = daemon.backend.resolver.usage
            usage.take_checks()
            noted: dict[Domain, bool] = {}
            take = usage.take_checks

            def take_and_note() -> dict[Domain, bool]:  # the task of checks may be first
                noted.update(taken := take())
                return taken

            monkeypatch.setattr(usage, "take_checks", take_and_note)
            await daemon.frontend.refresher.write_usage()
            usage.take_checks()
            assert noted == {"good.test": False}

    async def test_switched_off(self, net: Internet, tmp_path: Path) -> None:
        """With `checks.exceptions: false` nothing is tried."""
        changes = {"checks": {"exceptions": False}}
        async with good_host() as host, checking(net, tmp_path, host, changes) as (asked, daemon):
            use(daemon, exception("good.test", None))
            await asked.ask("good.test")
            await daemon.frontend.checks._look()
            assert daemon.frontend.checks.waiting == 0
        assert host.connections == 0


class TestEnds:
    """What ends while a check is under way."""

    async def test_the_network_process(self, net: Internet, tmp_path: Path) -> None:
        """Only the check is lost: it says nothing of the domain, and is not repeated at once."""
        async with (
            SmtpHost(plain={"": SILENCE}) as host,
            checking(net, tmp_path, host) as (asked, daemon),
        ):
            await asked.ask("good.test")
            await host.reached.wait()
            os.kill(child_of(daemon), signal.SIGKILL)
            assert await checks(daemon) == {(TRIAL, UNKNOWN): 1}
            check = await daemon.backend.store.check(GOOD)
            assert check
            assert check.cause == CANNOT_CHECK
            net.publish("new.test")
            assert await asked.ask("new.test") == NOT_FOUND
        assert host.connections == 1

    async def test_the_daemon(self, net: Internet, tmp_path: Path) -> None:
        """It does not wait for a mail server that is silent."""
        async with SmtpHost(plain={"": SILENCE}) as host:
            async with checking(net, tmp_path, host) as (asked, _):
                await asked.ask("good.test")
                await host.reached.wait()
            async with asyncio.timeout(TIMEOUT):
                await host.empty.wait()
        assert not [each for each in asyncio.all_tasks() if each.get_name().startswith("check")]

    async def test_the_trial(self, net: Internet, tmp_path: Path) -> None:
        """A reload ends it: what waits for a check is not checked any more."""
        async with good_host() as host, checking(net, tmp_path, host) as (_, daemon):
            checks = daemon.frontend.checks
            checks._schedule.add(GOOD, Wanted(TRIAL, policy(), "id1"), DAY, 0.0)
            assert checks.waiting == 1
            await daemon.reload(net.settings(tmp_path, {"checks": {"exceptions": False}}))
            assert checks.waiting == 0


async def test_openssl_is_loaded_by_the_first_probe(net: Internet, tmp_path: Path) -> None:
    """The network process does without pyOpenSSL until then; the daemon's process always does."""
    async with good_host() as host, checking(net, tmp_path, host) as (asked, daemon):
        await daemon.backend.network.look_up_hosts(GOOD, TIMEOUT, with_dane=True)
        maps = Path(f"/proc/{child_of(daemon)}/maps")
        assert "cryptography" not in maps.read_text()
        await asked.ask("good.test")
        await checks(daemon)
        assert "cryptography" in maps.read_text()
