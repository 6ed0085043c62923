"""What a scan finds out about one domain, with real DNS and HTTPS on this machine."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import pytest

from postfix_mta_sts.admin.findings import Finding, Outcome
from postfix_mta_sts.cli.trial.finder import Finder
from postfix_mta_sts.mtasts.check import Check, CheckResult
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.exceptions import (
    NO_EXCEPTIONS,
    Exceptions,
    Use,
    parse_exception,
    parse_scope,
)
from postfix_mta_sts.mtasts.policy import Policy
from postfix_mta_sts.network.clients import open_clients
from postfix_mta_sts.network.settings import NetworkSettings
from tests.cli.trial.findings import NOW, check
from tests.support.dns import Fault
from tests.support.internet import Internet
from tests.support.policy_host import ok, policy_text, reply

Checking: TypeAlias = Callable[[Domain, Policy, str], Awaitable[Check]]


@asynccontextmanager
async def finder(
    net: Internet,
    folder: Path,
    checking: Checking,
    *,
    enforces_testing: bool = False,
    exceptions: Exceptions = NO_EXCEPTIONS,
) -> AsyncIterator[Finder]:
    """A finder whose checks are made by a function."""
    network = NetworkSettings.of(net.settings(folder), net.hosts.port)
    async with open_clients(network) as (dns, fetcher):
        yield Finder(dns, fetcher, checking, lambda: NOW, enforces_testing, exceptions=exceptions)


def checks(result: CheckResult) -> Checking:
    """Let each check have this result."""

    async def made(domain: Domain, _: Policy, policy_id: str) -> Check:
        return check(domain, result, policy_id)

    return made


async def find(
    net: Internet,
    folder: Path,
    result: CheckResult = CheckResult.HELD,
    *,
    enforces_testing: bool = False,
) -> Finding:
    """Look at good.test."""
    checking = checks(result)
    async with finder(net, folder, checking, enforces_testing=enforces_testing) as made:
        return await made.find(Domain("good.test"))


@pytest.mark.parametrize("result", CheckResult)
async def test_enforce(net: Internet, tmp_path: Path, result: CheckResult) -> None:
    """A policy in mode enforce is checked, and the check decides."""
    net.publish("good.test", policy_id="20260101")
    found = await find(net, tmp_path, result)
    assert (found.outcome, found.mode, found.id) == (Outcome(result.value), "enforce", "20260101")
    assert (found.sentence, found.checked_at) == (f"Mail to good.test is {result}", NOW)


@pytest.mark.parametrize("mode", ["testing", "none"])
async def test_not_enforced(net: Internet, tmp_path: Path, mode: str) -> None:
    """A policy in another mode changes nothing, and no mail server is asked."""
    net.publish("good.test", ok(policy_text(mode)))
    found = await find(net, tmp_path)
    assert (found.outcome, found.why, found.checked_at) == (Outcome.NOT_ENFORCED, mode, None)


async def test_testing_is_enforced(net: Internet, tmp_path: Path) -> None:
    """With `enforce_testing` in a map, mode testing is checked as well."""
    net.publish("good.test", ok(policy_text("testing")))
    found = await find(net, tmp_path, enforces_testing=True)
    assert (found.outcome, found.mode) == (Outcome.HELD, "testing")


@pytest.mark.parametrize(
    ("use", "outcome", "why"),
    [
        (Use.IGNORE, Outcome.NOT_ENFORCED, "exception"),
        (Use.MAY, Outcome.NOT_ENFORCED, "exception"),
        (Use.ENFORCE, Outcome.HELD, None),
        (Use.PIN, Outcome.HELD, None),
    ],
)
async def test_exceptions(
    net: Internet, tmp_path: Path, use: Use, outcome: Outcome, why: str | None
) -> None:
    """An exception counts as it would for the daemon; a pin needs no policy of the domain."""
    checked = list[tuple[str, ...]]()

    async def checking(domain: Domain, tried: Policy, policy_id: str) -> Check:
        checked.append((policy_id, *tried.mx))
        return check(domain, CheckResult.HELD, policy_id)

    mx = ("mx.pinned.test",) if use is Use.PIN else ()
    made = parse_exception(parse_scope("good.test"), use, "a reason", NOW + 1.0, mx=mx)
    exceptions = Exceptions(configured={made.scope: made})
    if use is not Use.PIN:
        net.publish("good.test", ok(policy_text("testing")))
    async with finder(net, tmp_path, checking, exceptions=exceptions) as found_by:
        found = await found_by.find(Domain("good.test"))
    assert (found.outcome, found.why) == (outcome, why)
    expected = {Use.ENFORCE: [("id1", "mx1.good.test")], Use.PIN: [("", "mx.pinned.test")]}
    assert [each[:2] for each in checked] == expected.get(use, [])


async def test_no_policy(net: Internet, tmp_path: Path) -> None:
    """No record, a policy that cannot be had, and silence of the DNS are different things."""
    assert (await find(net, tmp_path)).outcome is Outcome.NO_POLICY
    net.publish("good.test", reply(404))
    found = await find(net, tmp_path)
    assert (found.outcome, found.cause) == (Outcome.UNFETCHED, "status")
    net.record("good.test", "v=STSv1; id=!;")
    found = await find(net, tmp_path)
    assert (found.outcome, found.cause) == (Outcome.UNFETCHED, "invalid-record")
    net.vanish(Fault.SERVFAIL)
    found = await find(net, tmp_path)
    assert (found.outcome, found.cause) == (Outcome.UNANSWERED, "dns-failure")


async def test_hostile_text(net: Internet, tmp_path: Path) -> None:
    """What a domain publishes cannot move the cursor of a terminal."""
    net.publish("good.test", ok(b"\x1b[2J\xc2\x9b31m: x\n\xff"))
    found = await find(net, tmp_path)
    assert found.sentence
    assert found.sentence.isascii()
    assert found.sentence.isprintable()


async def test_a_check_that_does_not_end(net: Internet, tmp_path: Path) -> None:
    """After the deadline the domain is unknown, and the scan goes on."""
    net.publish("good.test")
    never = asyncio.Event()

    async def wait(domain: Domain, _: Policy, policy_id: str) -> Check:
        await never.wait()
        return check(domain, policy_id=policy_id)

    async with finder(net, tmp_path, wait) as made:
        short = Finder(made.dns, made.fetcher, wait, lambda: NOW, deadline=0.5)
        found = await short.find(Domain("good.test"))
    assert (found.outcome, found.checked_at) == (Outcome.UNKNOWN, NOW)
    assert found.sentence == "The check was not finished within 0.5 s"
