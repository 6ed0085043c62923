"""How a scan checks a domain: by the check of the daemon, and with doubts about this side."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from postfix_mta_sts.admin.diagnosis.check import CheckRules
from postfix_mta_sts.admin.diagnosis.setup import RECOMMENDED, SmtpSetup
from postfix_mta_sts.admin.findings import Outcome
from postfix_mta_sts.cli import probe
from postfix_mta_sts.cli.parser import CommandError
from postfix_mta_sts.cli.trial.sources import ScanChecker, open_finder
from postfix_mta_sts.mtasts.check import CheckResult
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.network.mail_hosts_values import FoundHosts, MailHosts
from postfix_mta_sts.network.smtp.values import (
    FailureKind,
    Phase,
    ProbePlan,
    ProbeResult,
    SmtpFailure,
    TrustFiles,
)
from tests.cli.trial.findings import NOW
from tests.support.internet import Internet, authority
from tests.support.postfix_programs import PostfixPrograms
from tests.support.smtp_client import host as mx_host
from tests.support.smtp_host import SmtpHost
from tests.support.surroundings import policy

SETUP = SmtpSetup(RECOMMENDED, TrustFiles("/ca"), "/ca")
SILENT = SmtpFailure(Phase.CONNECT, FailureKind.TIMEOUT, "no answer")
REFUSED = SmtpFailure(Phase.CONNECT, FailureKind.REFUSED, "refused")


class Sources:
    """One MX host for each domain, which does as `failure` says; None: it has no STARTTLS."""

    def __init__(self) -> None:
        self.failure: SmtpFailure | None = SILENT
        self.address = "192.0.2.1"
        self.probed = False

    async def look_up_hosts(
        self, domain: Domain, _seconds: float, *, with_dane: bool
    ) -> FoundHosts:
        """See `CheckSources`."""
        assert not with_dane
        return FoundHosts(MailHosts((mx_host(f"mx1.{domain}", self.address),)))

    async def probe(self, plan: ProbePlan) -> Sequence[ProbeResult]:
        """See `CheckSources`."""
        offers = None if self.failure else False
        self.probed = True
        return [ProbeResult(each, (), self.failure, "mx", offers) for each in plan.targets]


async def test_silence() -> None:
    """A silent server is the fault of this side, until some other server has answered."""
    network = Sources()
    checker = ScanChecker(network, SETUP, CheckRules(), lambda: NOW, patience=0)

    async def result() -> CheckResult:
        return (await checker.check(Domain("good.test"), policy(), "a")).result

    assert await result() is CheckResult.UNKNOWN
    network.failure = REFUSED
    assert await result() is CheckResult.UNKNOWN
    network.failure, network.address = None, "127.0.0.1"  # a server on this machine
    assert await result() is CheckResult.HELD
    network.failure, network.address = REFUSED, "192.0.2.1"
    assert await result() is CheckResult.UNKNOWN
    network.failure = None
    assert await result() is CheckResult.HELD
    network.failure = REFUSED
    assert await result() is CheckResult.HELD
    network.failure = SILENT
    assert await result() is CheckResult.HELD


async def test_refused_first() -> None:
    """A refusal comes at once: it is decided when others have had the time to answer."""
    network = Sources()
    checker = ScanChecker(network, SETUP, CheckRules(), lambda: NOW, patience=60)
    network.failure = REFUSED
    refused = asyncio.create_task(checker.check(Domain("bad.test"), policy(), "a"))
    while not network.probed:  # noqa: ASYNC110 (no event)
        await asyncio.sleep(0.001)
    network.failure = None
    await checker.check(Domain("good.test"), policy(), "a")
    assert (await refused).result is CheckResult.HELD


async def test_values() -> None:
    """The check has its time, its policy and a sentence of `query`."""
    network = Sources()
    network.failure = None
    checker = ScanChecker(network, SETUP, CheckRules(), lambda: NOW)
    found = await checker.check(Domain("good.test"), policy(), "a")
    assert (found.policy_id, found.checked_at, found.cause) == ("a", NOW, "no-starttls")
    assert found.sentence == (
        "Mail to good.test is held: its MX host mx1.good.test fails: no STARTTLS"
    )


def test_without_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without the libraries for TLS is told so once, and not for each domain."""

    def missing(_: str) -> None:
        raise ModuleNotFoundError(name="OpenSSL")

    monkeypatch.setattr(probe, "import_module", missing)
    with pytest.raises(CommandError, match="there is no module OpenSSL") as error:
        probe.import_probe("trial scan", 3)
    assert error.value.exit_code == 3


async def test_network(net: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way, with the CA of Postfix: DNS, HTTPS, and the mail server."""
    ca_file = str(net.ca_file)
    PostfixPrograms(tmp_path / "bin", smtp_tls_CAfile=ca_file).use(monkeypatch)
    for domain in ("good.test", "other.test"):
        net.publish(domain)
    settings = net.settings(tmp_path)
    async with (
        SmtpHost(authority().issue("mx1.good.test")) as host,
        open_finder(settings, net.hosts.port, host.port) as find,
    ):
        good, other = [await find(Domain(name)) for name in ("good.test", "other.test")]
    assert (good.outcome, good.sentence) == (
        Outcome.DELIVERED,
        "Mail to good.test is delivered, verified by its policy",
    )
    assert (other.outcome, other.cause) == (Outcome.HELD, "certificate-wrong-name")
    assert host.connections == 2
    assert not {"MAIL", "RCPT", "DATA"} & {each.split()[0] for each in host.commands}
