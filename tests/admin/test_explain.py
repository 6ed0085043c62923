"""The steps of `query`, with a Policy Host that is reached without a proxy."""

from pathlib import Path

import pytest

from postfix_mta_sts.admin.explain import Explanation, LookUpDane, OnDane, explain
from postfix_mta_sts.admin.report import as_dict, as_lines
from postfix_mta_sts.mtasts.dane import DaneOutcome, Host, HostState, MxState
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import (
    DnsFailureError,
    ForbiddenAddressError,
    HostNotFoundError,
    NoRecordError,
)
from postfix_mta_sts.network.clients import open_clients
from postfix_mta_sts.network.settings import NetworkSettings
from postfix_mta_sts.postfix.protocol.reply import STRICT, DaneRule
from tests.support.dns import Fault
from tests.support.internet import Internet

GOOD = Domain("good.test")


async def explained(
    net: Internet,
    folder: Path,
    *,
    private: bool = True,
    dane_lookup: LookUpDane | None = None,
    rule: DaneRule = STRICT,
) -> Explanation:
    """Look good.test up."""
    https = {"https": {"allow_private_addresses": private}}
    async with open_clients(NetworkSettings.of(net.settings(folder, https), net.hosts.port)) as (
        dns,
        fetcher,
    ):
        seen = Explanation(GOOD)
        look_up_dane = dane_lookup or not_checked
        await explain(seen, dns.look_up_txt, fetcher.fetch_body, look_up_dane, rule)
        return seen


async def not_checked(_domain: Domain, _on_progress: OnDane) -> str:
    """A DANE look-up that is not to be done."""
    return "no reason"


def host(state: HostState, name: str = "mx1.good.test") -> Host:
    """An MX host in the given state."""
    return Host(name, state, f"TLSA of _25._tcp.{name}: {state}")


def dane_support(mx: MxState, *hosts: Host) -> LookUpDane:
    """A DANE look-up with a fixed outcome."""

    async def dane_lookup(domain: Domain, _on_progress: OnDane) -> DaneOutcome:
        return DaneOutcome(mx, f"MX of {domain}: {mx}", hosts, 77)

    return dane_lookup


async def test_address(net: Internet, tmp_path: Path) -> None:
    """The text names the address of the Policy Host, and the port if it is not 443."""
    seen = await explained(net, tmp_path)
    lines = list(as_lines(seen))
    url = f"https://mta-sts.good.test:{net.hosts.port}/.well-known/mta-sts.txt"
    assert f"  policy    {url}" in lines
    assert "  address   127.0.0.1" in lines
    assert (seen.error, seen.unprotected) == (None, False)


async def test_forbidden_address(net: Internet, tmp_path: Path) -> None:
    """A private address is the reason of the failure; no connection is made."""
    seen = await explained(net, tmp_path, private=False)
    assert isinstance(seen.error, ForbiddenAddressError)
    reason = str(seen.error)
    assert reason.startswith("not a public address: 127.0.0.1 (loopback); https.allow_private_addr")
    assert as_dict(seen)["error"] == {
        "code": "forbidden-address",
        "result": "sts-policy-fetch-error",
        "reason": reason,
        "line": None,
    }
    assert list(as_lines(seen))[-4:] == [
        f"  failure   {reason} (sts-policy-fetch-error)",
        "  DANE      not checked: no reason",
        "  Postfix   NOTFOUND",
        "  TLSRPT    NOTFOUND",
    ]
    assert net.hosts.connections.total == 0


async def test_no_policy_host(net: Internet, tmp_path: Path) -> None:
    """A record without a Policy Host is a failure, not an absence."""
    del net.dns.zone["mta-sts.good.test A"]
    seen = await explained(net, tmp_path)
    assert isinstance(seen.error, HostNotFoundError)
    assert (seen.policy_id, seen.unprotected) == ("id1", False)


async def test_addresses_not_known(net: Internet, tmp_path: Path) -> None:
    """If the addresses of the Policy Host cannot be looked up, that is a failure of the DNS."""
    net.dns.zone["mta-sts.good.test A"] = Fault.SERVFAIL
    seen = await explained(net, tmp_path)
    assert isinstance(seen.error, DnsFailureError)
    assert (seen.policy_id, seen.unprotected) == ("id1", False)
    assert (
        "  failure   addresses of mta-sts.good.test: SERVFAIL from the name server "
        "(sts-policy-fetch-error)" in list(as_lines(seen))
    )


async def test_steps_not_reached(net: Internet, tmp_path: Path) -> None:
    """Steps that were not reached are None."""
    net.vanish(Fault.NXDOMAIN)
    seen = await explained(net, tmp_path)
    assert isinstance(seen.error, NoRecordError)
    assert seen.unprotected
    assert (seen.texts, seen.policy_id, seen.trace, seen.body, seen.policy) == (None,) * 5


SECURE = "OK secure match=mx1.good.test servername=hostname"
USABLE, ABSENT, FAILED = map(host, (HostState.USABLE, HostState.ABSENT, HostState.FAILED))


@pytest.mark.parametrize(
    ("dane_lookup", "rule", "verdict", "reply"),
    [
        (
            dane_support(MxState.SECURE, USABLE),
            STRICT,
            "all: TLSA of _25._tcp.mx1.good.test: usable",
            "OK dane-only",
        ),
        (
            dane_support(MxState.SECURE, USABLE),
            DaneRule("yield"),
            "all: TLSA of _25._tcp.mx1.good.test: usable",
            "NOTFOUND",
        ),
        (
            dane_support(MxState.SECURE, USABLE, host(HostState.ABSENT, "mx2.good.test")),
            STRICT,
            "some: TLSA of _25._tcp.mx2.good.test: absent",
            "OK dane-only",
        ),
        (
            dane_support(MxState.SECURE, ABSENT),
            STRICT,
            "none: TLSA of _25._tcp.mx1.good.test: absent",
            SECURE,
        ),
        (
            dane_support(MxState.SECURE, FAILED),
            STRICT,
            "failure: TLSA of _25._tcp.mx1.good.test: failed",
            "TEMP DANE: DNS failure for good.test: TLSA of _25._tcp.mx1.good.test: failed",
        ),
        (
            dane_support(MxState.SECURE, FAILED),
            DaneRule(defer=False),
            "failure: TLSA of _25._tcp.mx1.good.test: failed",
            SECURE,
        ),
        (dane_support(MxState.INSECURE), STRICT, "insecure: MX of good.test: insecure", SECURE),
        (dane_support(MxState.FAILED), STRICT, "failure: MX of good.test: failed", SECURE),
    ],
)
async def test_dane(
    net: Internet, tmp_path: Path, dane_lookup: LookUpDane, rule: DaneRule, verdict: str, reply: str
) -> None:
    """The text has the verdict and the step that decided it; the reply is that of the daemon."""
    seen = await explained(net, tmp_path, dane_lookup=dane_lookup, rule=rule)
    assert f"  DANE      {verdict}" in list(as_lines(seen))
    assert seen.reply == reply


async def test_dane_without_a_policy(net: Internet, tmp_path: Path) -> None:
    """DANE needs no policy; the text has the state and the step of each MX host."""
    net.vanish(Fault.NXDOMAIN)
    both = USABLE, host(HostState.ABSENT, "mx2.good.test")
    seen = await explained(net, tmp_path, dane_lookup=dane_support(MxState.SECURE, *both))
    assert list(as_lines(seen)) == [
        "good.test",
        "  none      NXDOMAIN",
        "  DANE      some: TLSA of _25._tcp.mx2.good.test: absent",
        "  MX host   mx1.good.test usable: TLSA of _25._tcp.mx1.good.test: usable",
        "  MX host   mx2.good.test absent: TLSA of _25._tcp.mx2.good.test: absent",
        "  Postfix   OK dane",
        "  TLSRPT    OK dane",
    ]
    assert seen.unprotected
    assert as_dict(seen)["dane"] == {
        "kind": "some",
        "reason": "TLSA of _25._tcp.mx2.good.test: absent",
        "mx": {"state": "secure", "step": "MX of good.test: secure"},
        "hosts": [
            {
                "name": "mx1.good.test",
                "state": "usable",
                "step": "TLSA of _25._tcp.mx1.good.test: usable",
            },
            {
                "name": "mx2.good.test",
                "state": "absent",
                "step": "TLSA of _25._tcp.mx2.good.test: absent",
            },
        ],
        "ttl": 77,
    }


async def test_dane_that_is_not_checked_comes_last() -> None:
    """The order of the lines does not depend on how slow the policy is."""
    seen = Explanation(GOOD, dane_skipped="no reason")
    assert list(as_lines(seen)) == ["good.test"]
    seen.error = NoRecordError("NXDOMAIN")
    assert list(as_lines(seen))[-1] == "  DANE      not checked: no reason"
