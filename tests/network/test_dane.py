"""RFC 7672 §2.2 as a table: DNS contents → outcome of the look-up, and its number of queries."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

import pytest

from postfix_mta_sts.mtasts.dane import MAX_HOSTS, DaneKind, HostState, MxState
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.network.dane import HOSTS_AT_ONCE, DaneClient
from postfix_mta_sts.network.dnssec import DnssecClient
from tests.support.dns import MINIMUM_TTL, DnsServer, Fault, Records

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])

GOOD = Domain("good.test")
TIMEOUT = 20.0
"""Seconds for one query: enough for a busy machine."""
TLSA = "3 1 1 " + "ab" * 32
PKIX = "1 1 1 " + "ab" * 32
SHORT = r"\# 34 030101" + "ab" * 31
"""In the notation for unknown types: no tool writes such a TLSA record."""
ONE_MX = {"good.test MX": ["10 mx1.good.test."], "mx1.good.test A": ["192.0.2.1"]}
TWO_MX = {
    "good.test MX": ["20 mx2.good.test.", "10 mx1.good.test."],
    "mx1.good.test A": ["192.0.2.1"],
    "mx2.good.test A": ["192.0.2.2"],
}
AT_MX1, AT_MX2 = "_25._tcp.mx1.good.test TLSA", "_25._tcp.mx2.good.test TLSA"
ALIAS = {"good.test MX": ["10 mx1.good.test."], "mx1.good.test CNAME": ["real.good.test."]}
REAL = {"real.good.test A": ["192.0.2.1"]}
AT_REAL = "_25._tcp.real.good.test TLSA"
OUT = {"good.test MX": ["10 mx1.good.test."], "mx1.good.test CNAME": ["mx.plain.test."]}
PLAIN = {"mx.plain.test A": ["192.0.2.1"]}

Zone = Mapping[str, Sequence[str] | Records | Fault]


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    """A validating resolver; good.test is signed, plain.test is not."""
    async with DnsServer(signed=["good.test"]) as server:
        yield server


@pytest.fixture
def dane(server: DnsServer) -> DaneClient:
    """A DANE client of that resolver."""
    return DaneClient(DnssecClient([server.address], TIMEOUT))


@pytest.mark.parametrize(
    ("zone", "kind", "reason"),
    [
        pytest.param(
            {**ONE_MX, AT_MX1: [TLSA]},
            DaneKind.ALL,
            "TLSA of _25._tcp.mx1.good.test: 1 found, signed, 1 usable",
            id="one host",
        ),
        pytest.param(
            {**TWO_MX, AT_MX1: [TLSA, PKIX], AT_MX2: [TLSA]},
            DaneKind.ALL,
            "TLSA of _25._tcp.mx1.good.test: 2 found, signed, 1 usable",
            id="all hosts",
        ),
        pytest.param(
            {**TWO_MX, AT_MX1: [TLSA]},
            DaneKind.SOME,
            "TLSA of _25._tcp.mx2.good.test: NXDOMAIN, signed",
            id="some hosts",
        ),
        pytest.param(
            {**TWO_MX, AT_MX1: [PKIX], AT_MX2: Fault.NODATA},
            DaneKind.UNUSABLE,
            "TLSA of _25._tcp.mx1.good.test: 1 found, signed, 0 usable",
            id="PKIX usages only",
        ),
        pytest.param(
            {**ONE_MX, AT_MX1: [SHORT]},
            DaneKind.UNUSABLE,
            "TLSA of _25._tcp.mx1.good.test: 1 found, signed, 0 usable",
            id="wrong digest length",
        ),
        pytest.param(
            ONE_MX,
            DaneKind.NONE,
            "TLSA of _25._tcp.mx1.good.test: NXDOMAIN, signed",
            id="proven absence",
        ),
        pytest.param(
            {**ONE_MX, AT_MX1: Fault.NODATA},
            DaneKind.NONE,
            "TLSA of _25._tcp.mx1.good.test: NODATA, signed",
            id="proven absence of the type",
        ),
        pytest.param(
            {**ONE_MX, AT_MX1: Fault.SERVFAIL},
            DaneKind.FAILURE,
            "TLSA of _25._tcp.mx1.good.test: SERVFAIL from the name server",
            id="bogus TLSA",
        ),
        pytest.param(
            {**TWO_MX, AT_MX1: Fault.SERVFAIL},
            DaneKind.SOME_FAILED,
            "TLSA of _25._tcp.mx1.good.test: SERVFAIL from the name server",
            id="bogus TLSA of one host, none at the other",
        ),
        pytest.param(
            {**TWO_MX, AT_MX1: Fault.SERVFAIL, AT_MX2: [TLSA]},
            DaneKind.SOME,
            "TLSA of _25._tcp.mx1.good.test: SERVFAIL from the name server",
            id="bogus TLSA of one host, good ones at the other",
        ),
        pytest.param(
            {**ONE_MX, "mx1.good.test A": Fault.SERVFAIL, AT_MX1: [TLSA]},
            DaneKind.FAILURE,
            "A of mx1.good.test: SERVFAIL from the name server",
            id="bogus address",
        ),
        pytest.param(
            {"good.test MX": Fault.SERVFAIL},
            DaneKind.FAILURE,
            "MX of good.test: SERVFAIL from the name server",
            id="bogus MX",
        ),
        pytest.param(
            {"good.test MX": ["0 ."], "good.test A": ["192.0.2.1"]},
            DaneKind.NONE,
            "MX of good.test: 1 found, signed",
            id="null MX",
        ),
        pytest.param({}, DaneKind.NONE, "MX of good.test: NXDOMAIN, signed", id="no such domain"),
        pytest.param(
            {"good.test A": ["192.0.2.1"], "_25._tcp.good.test TLSA": [TLSA]},
            DaneKind.ALL,
            "TLSA of _25._tcp.good.test: 1 found, signed, 1 usable",
            id="implicit MX",
        ),
        pytest.param(
            {"good.test TXT": ["x"]},
            DaneKind.NONE,
            "MX of good.test: NODATA, signed",
            id="implicit MX without an address",
        ),
        pytest.param(
            {"good.test MX": ["10 mx.plain.test."], **PLAIN, "_25._tcp.mx.plain.test TLSA": [TLSA]},
            DaneKind.NONE,
            "addresses of mx.plain.test: 1 found, not signed",
            id="host in a zone that is not signed",
        ),
        pytest.param(
            {
                "good.test MX": ["10 mx1.good.test."],
                "mx1.good.test AAAA": ["2001:db8::1"],
                AT_MX1: [TLSA],
            },
            DaneKind.ALL,
            "TLSA of _25._tcp.mx1.good.test: 1 found, signed, 1 usable",
            id="IPv6 only",
        ),
        pytest.param(
            {
                **ONE_MX,
                "mx1.good.test A": Fault.SERVFAIL,
                "mx1.good.test AAAA": ["2001:db8::1"],
                AT_MX1: [TLSA],
            },
            DaneKind.ALL,
            "TLSA of _25._tcp.mx1.good.test: 1 found, signed, 1 usable",
            id="IPv6, and IPv4 fails",
        ),
        pytest.param(
            {**TWO_MX, "mx1.good.test A": Fault.NXDOMAIN, AT_MX2: [TLSA]},
            DaneKind.ALL,
            "TLSA of _25._tcp.mx2.good.test: 1 found, signed, 1 usable",
            id="a host that does not exist",
        ),
        pytest.param(
            {**ALIAS, **REAL, AT_REAL: [TLSA], AT_MX1: [PKIX]},
            DaneKind.ALL,
            "TLSA of _25._tcp.real.good.test: 1 found, signed, 1 usable",
            id="CNAME, TLSA where it leads",
        ),
        pytest.param(
            {**ALIAS, **REAL, AT_MX1: [TLSA]},
            DaneKind.ALL,
            "TLSA of _25._tcp.mx1.good.test: 1 found, signed, 1 usable",
            id="CNAME, TLSA where it begins",
        ),
        pytest.param(
            {**ALIAS, **REAL, AT_REAL: [PKIX], AT_MX1: [TLSA]},
            DaneKind.UNUSABLE,
            "TLSA of _25._tcp.real.good.test: 1 found, signed, 0 usable",
            id="CNAME, the first TLSA records count",
        ),
        pytest.param(
            {**ALIAS, **REAL, AT_REAL: Fault.SERVFAIL, AT_MX1: [TLSA]},
            DaneKind.FAILURE,
            "TLSA of _25._tcp.real.good.test: SERVFAIL from the name server",
            id="CNAME, bogus TLSA where it leads",
        ),
        pytest.param(
            {**ALIAS, **REAL},
            DaneKind.NONE,
            "TLSA of _25._tcp.mx1.good.test: NXDOMAIN, signed",
            id="CNAME, no TLSA",
        ),
        pytest.param(
            {**OUT, **PLAIN, AT_MX1: [TLSA], "_25._tcp.mx.plain.test TLSA": [PKIX]},
            DaneKind.ALL,
            "TLSA of _25._tcp.mx1.good.test: 1 found, signed, 1 usable",
            id="signed CNAME into a zone that is not",
        ),
        pytest.param(
            {
                "good.test MX": ["10 mx.plain.test."],
                "mx.plain.test CNAME": ["real.good.test."],
                **REAL,
                AT_REAL: [TLSA],
            },
            DaneKind.NONE,
            "addresses of mx.plain.test: 1 found, not signed",
            id="CNAME that is not signed into a signed zone",
        ),
        pytest.param(
            {**ONE_MX, AT_MX1: Records([TLSA], truncated=True)},
            DaneKind.ALL,
            "TLSA of _25._tcp.mx1.good.test: 1 found, signed, 1 usable",
            id="truncated",
        ),
    ],
)
async def test_signed_domain(
    dane: DaneClient, server: DnsServer, zone: Zone, kind: DaneKind, reason: str
) -> None:
    """The DNS contents of a signed domain lead to this outcome, by this step (T2, T3, T5)."""
    server.zone |= zone
    outcome = await dane.look_up_dane(GOOD)
    assert (outcome.kind, outcome.reason) == (kind, reason)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (["10 mx1.good.test."], "1 found"),
        (Fault.NODATA, "NODATA"),
        (Fault.NXDOMAIN, "NXDOMAIN"),
    ],
    ids=["MX", "NODATA", "NXDOMAIN"],
)
async def test_domain_that_is_not_signed(
    dane: DaneClient, server: DnsServer, found: Sequence[str] | Fault, said: str
) -> None:
    """It costs one query, for its MX records, whatever its hosts publish (T2)."""
    server.zone |= {**ONE_MX, AT_MX1: [TLSA], "plain.test MX": found}
    outcome = await dane.look_up_dane(Domain("plain.test"))
    assert (outcome.kind, outcome.mx) == (DaneKind.INSECURE, MxState.INSECURE)
    assert outcome.reason == f"MX of plain.test: {said}, not signed"
    assert (server.queries["plain.test", "MX"], server.queries.total) == (1, 1)


async def test_a_host_costs_two_queries(dane: DaneClient, server: DnsServer) -> None:
    """A signed domain costs one MX query, and two queries for each host: address and TLSA."""
    server.zone |= {**TWO_MX, AT_MX1: [TLSA], AT_MX2: [TLSA]}
    await dane.look_up_dane(GOOD)
    assert server.queries.total == 5


async def test_hosts_in_order(dane: DaneClient, server: DnsServer) -> None:
    """Each host has one result; the most preferred is the first."""
    server.zone |= {**TWO_MX, AT_MX2: [TLSA]}
    server.zone["good.test MX"] = ["20 MX2.good.test.", "10 mx1.good.test.", "30 mx1.good.test."]
    outcome = await dane.look_up_dane(GOOD)
    assert [(host.name, host.state) for host in outcome.hosts] == [
        ("mx1.good.test", HostState.ABSENT),
        ("mx2.good.test", HostState.USABLE),
    ]


@pytest.mark.parametrize("short", ["good.test MX", "mx1.good.test A", AT_MX1])
async def test_the_lowest_ttl(dane: DaneClient, server: DnsServer, short: str) -> None:
    """The TTL of an outcome is the lowest of all answers (T6)."""
    data = {**ONE_MX, AT_MX1: [TLSA]}
    server.zone |= {name: Records(records, ttl=900) for name, records in data.items()}
    server.zone[short] = Records(data[short], ttl=77)
    assert (await dane.look_up_dane(GOOD)).ttl == 77


async def test_the_ttl_of_an_absence(dane: DaneClient, server: DnsServer) -> None:
    """The TTL of a missing TLSA record is that of the zone's SOA record (RFC 2308 §5)."""
    server.zone |= {name: Records(data, ttl=90_000) for name, data in ONE_MX.items()}
    assert (await dane.look_up_dane(GOOD)).ttl == MINIMUM_TTL


async def test_too_many_hosts(dane: DaneClient, server: DnsServer) -> None:
    """A limited number of hosts is looked up; the reason counts the others."""
    names = [f"mx{n:02}.good.test" for n in range(MAX_HOSTS + 5)]
    server.zone["good.test MX"] = [f"{n} {name}." for n, name in enumerate(names)]
    for name in names:
        server.zone |= {f"{name} A": ["192.0.2.1"], f"_25._tcp.{name} TLSA": [TLSA]}
    outcome = await dane.look_up_dane(GOOD)
    assert outcome.kind is DaneKind.SOME
    assert outcome.reason == f"5 more MX hosts than {MAX_HOSTS} are not looked up"
    assert server.queries.total == 1 + 2 * MAX_HOSTS


async def test_few_hosts_in_parallel(dane: DaneClient, server: DnsServer) -> None:
    """At most four hosts are looked up in parallel, each with one query at a time."""
    names = [f"mx{n}.good.test" for n in range(HOSTS_AT_ONCE + 2)]
    server.zone["good.test MX"] = [f"10 {name}." for name in names]
    server.zone |= {f"{name} A": ["192.0.2.1"] for name in names}
    look_up = asyncio.create_task(dane.look_up_dane(GOOD))
    await server.queries.reached(("good.test", "MX"))
    server.hold()
    await server.queries.total_reached(1 + HOSTS_AT_ONCE)
    assert server.queries.total == 1 + HOSTS_AT_ONCE
    server.release()
    assert len((await look_up).hosts) == len(names)


async def test_cancelled(dane: DaneClient, server: DnsServer) -> None:
    """A cancelled look-up leaves no task."""
    server.zone |= TWO_MX
    server.hold()
    look_up = asyncio.create_task(dane.look_up_dane(GOOD))
    await server.queries.total_reached(1)
    look_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await look_up
    assert len(asyncio.all_tasks()) == 2  # this test and the held response
