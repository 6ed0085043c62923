"""A Policy Host with addresses of both families: what each one gives, and where they differ."""

from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.config.settings import HttpsSettings, Settings
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.network.dns import DnsClient
from postfix_mta_sts.network.policy_families import (
    FamilyResult,
    compare_families,
    difference,
)
from postfix_mta_sts.network.settings import NetworkSettings
from postfix_mta_sts.values import replace
from tests.support.dns import DnsServer, Fault
from tests.support.fetchers import GOOD, HOST, POLICY
from tests.support.policy_host import PolicyHost, ok, policy_text, reply
from tests.support.tls import Authority, self_signed

FOUR, NOBODY = "127.0.0.77", "127.0.0.78"
"""An address of the Policy Host, and one at whose port nothing listens."""
NO_ROUTE = "fe80::1"
"""A link-local address without its zone, to which no machine can send."""
A, AAAA = f"{HOST} A", f"{HOST} AAAA"
SIX_IS_GOOD = FamilyResult(
    "IPv6", "::1", status=200, size=len(POLICY), sha256=sha256(POLICY).hexdigest()
)
FOUR_IS_GOOD = replace(SIX_IS_GOOD, family="IPv4", address=FOUR)
SEEN_OF_SIX = f"IPv6: 200, {len(POLICY)} bytes, SHA-256 {SIX_IS_GOOD.sha256:.8}..."


@pytest.fixture
async def six(authority: Authority) -> AsyncIterator[PolicyHost]:
    """The Policy Host over IPv6."""
    async with PolicyHost(authority, host="::1") as six:
        six.answers[HOST] = ok(POLICY)
        yield six


@pytest.fixture
async def four(authority: Authority, six: PolicyHost) -> AsyncIterator[PolicyHost]:
    """The Policy Host over IPv4, at the same port."""
    async with PolicyHost(authority, host=FOUR, port=six.port) as four:
        four.answers[HOST] = ok(POLICY)
        yield four


@pytest.fixture
def settings(four: PolicyHost, server: DnsServer, ca_file: Path) -> NetworkSettings:
    """Settings for this Policy Host, which the DNS has with both families."""
    server.zone |= {A: [FOUR], AAAA: ["::1"]}
    https = HttpsSettings(ca_file=ca_file, allow_private_addresses=True)
    return NetworkSettings.of(Settings(https=https), four.port)


class TestCompare:
    """One GET over each address family."""

    async def test_both_agree(
        self, dns: DnsClient, settings: NetworkSettings, six: PolicyHost, four: PolicyHost
    ) -> None:
        """Each family is asked once; the same policy is no difference."""
        results = await compare_families(GOOD, dns, settings)
        assert results == (SIX_IS_GOOD, FOUR_IS_GOOD)
        assert (six.gets[HOST], four.gets[HOST]) == (1, 1)
        assert difference(results) == ""

    @pytest.mark.parametrize(
        ("zone", "expected", "line"),
        [
            pytest.param(
                {A: [NOBODY]},
                FamilyResult("IPv4", NOBODY, "unreachable", "Connection refused"),
                "Connection refused",
                id="refused",
            ),
            pytest.param(
                {A: Fault.SERVFAIL},
                FamilyResult(
                    "IPv4",
                    code="dns-failure",
                    reason="addresses: SERVFAIL from the name server",
                ),
                "addresses: SERVFAIL from the name server",
                id="DNS fails for one family",
            ),
        ],
    )
    async def test_one_family_fails(
        self,
        dns: DnsClient,
        server: DnsServer,
        settings: NetworkSettings,
        zone: dict[str, list[str] | Fault],
        expected: FamilyResult,
        line: str,
    ) -> None:
        """The failure of one family stands beside what the other one gives."""
        server.zone |= zone
        results = await compare_families(GOOD, dns, settings)
        assert results == (SIX_IS_GOOD, expected)
        assert difference(results) == f"{SEEN_OF_SIX}; IPv4: {line}"

    @pytest.mark.parametrize(
        ("answer", "expected", "line"),
        [
            pytest.param(
                reply(404),
                FamilyResult("IPv4", FOUR, "status", "HTTP 404", 404),
                "HTTP 404",
                id="status",
            ),
            pytest.param(
                ok(policy_text("none")),
                FamilyResult(
                    "IPv4",
                    FOUR,
                    status=200,
                    size=len(policy_text("none")),
                    sha256=sha256(policy_text("none")).hexdigest(),
                ),
                f"200, {len(policy_text('none'))} bytes, SHA-256 "
                f"{sha256(policy_text('none')).hexdigest():.8}...",
                id="another policy",
            ),
        ],
    )
    async def test_another_response(
        self,
        dns: DnsClient,
        four: PolicyHost,
        settings: NetworkSettings,
        answer: bytes,
        expected: FamilyResult,
        line: str,
    ) -> None:
        """Another status or another body over one family is a difference."""
        four.answers[HOST] = answer
        results = await compare_families(GOOD, dns, settings)
        assert results == (SIX_IS_GOOD, expected)
        assert difference(results) == f"{SEEN_OF_SIX}; IPv4: {line}"

    async def test_another_certificate(
        self, dns: DnsClient, six: PolicyHost, settings: NetworkSettings
    ) -> None:
        """A certificate that is not valid over one family is a difference."""
        six.credentials[HOST] = self_signed(HOST)
        first, second = await compare_families(GOOD, dns, settings)
        assert (first.code, second) == ("certificate", FOUR_IS_GOOD)

    async def test_both_fail(
        self, dns: DnsClient, six: PolicyHost, four: PolicyHost, settings: NetworkSettings
    ) -> None:
        """The same failure over both families is no difference."""
        six.answers[HOST] = four.answers[HOST] = reply(404)
        results = await compare_families(GOOD, dns, settings)
        assert [each.code for each in results] == ["status", "status"]
        assert difference(results) == ""


class TestNothingToCompare:
    """No GET is sent if there is nothing to compare."""

    @pytest.mark.parametrize(
        "zone",
        [
            pytest.param({AAAA: Fault.NODATA}, id="IPv4 only"),
            pytest.param({A: Fault.NODATA}, id="IPv6 only"),
            pytest.param({A: Fault.NXDOMAIN, AAAA: Fault.NXDOMAIN}, id="no host"),
            pytest.param({A: Fault.SERVFAIL, AAAA: Fault.SERVFAIL}, id="DNS fails"),
            pytest.param({A: Fault.SERVFAIL, AAAA: Fault.NODATA}, id="DNS fails, and no other"),
            pytest.param({AAAA: [NO_ROUTE]}, id="no route to one family"),
        ],
    )
    async def test_one_family(
        self,
        dns: DnsClient,
        server: DnsServer,
        settings: NetworkSettings,
        six: PolicyHost,
        four: PolicyHost,
        zone: dict[str, list[str] | Fault],
    ) -> None:
        """Unless both families have addresses to which there is a route, nothing is compared."""
        server.zone |= zone
        assert await compare_families(GOOD, dns, settings) == ()
        assert (six.connections.total, four.connections.total) == (0, 0)

    async def test_proxy(
        self, dns: DnsClient, server: DnsServer, settings: NetworkSettings
    ) -> None:
        """With a proxy, which chooses the address, no name is looked up."""
        behind = replace(settings, proxy="http://127.0.0.1:3128")
        assert await compare_families(GOOD, dns, behind) == ()
        assert server.queries.total == 0

    async def test_name_too_long(self, dns: DnsClient, settings: NetworkSettings) -> None:
        """A domain whose Policy Host cannot have a name has no addresses to compare."""
        long = Domain(".".join(["a" * 60, "b" * 60, "c" * 60, "d" * 60, "e" * 9]))
        assert await compare_families(long, dns, settings) == ()


RESULTS = st.one_of(
    st.builds(
        FamilyResult,
        st.just("IPv4"),
        code=st.sampled_from(["status", "tls", "own-fault"]),
        reason=st.sampled_from(["one reason", "another"]),
        status=st.sampled_from([404, 500]),
    ),
    st.builds(
        FamilyResult,
        st.just("IPv4"),
        status=st.just(200),
        size=st.integers(0, 65536),
        sha256=st.sampled_from(["ab" * 32, "cd" * 32]),
    ),
)


@given(RESULTS, RESULTS)
def test_difference(one: FamilyResult, other: FamilyResult) -> None:
    """Results differ the same way in any order; one that equals itself never does."""
    line = difference([one, other])
    assert line.isprintable()
    assert bool(line) == bool(difference([other, one]))
    assert difference([one, one]) == difference([one]) == difference([]) == ""
    if "own-fault" in {one.code, other.code}:
        assert line == ""
    else:
        assert bool(line) == (
            (one.code, one.sha256) != (other.code, other.sha256)
            or (one.code == "status" and one.status != other.status)
        )
