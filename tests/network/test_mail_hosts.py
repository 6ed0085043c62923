"""DNS contents → the hosts that take mail for a next-hop, as smtp(8) reads them."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.network import mail_hosts as mail_hosts_module
from postfix_mta_sts.network.dane import PENDING
from postfix_mta_sts.network.dns import MAX_ADDRESSES, DnsClient
from postfix_mta_sts.network.dns_message import DnsResponse, Mx
from postfix_mta_sts.network.dns_name import decode_name
from postfix_mta_sts.network.mail_hosts import (
    HOSTS_AT_ONCE,
    MAX_HOSTS,
    look_up_mail_hosts,
    mail_hosts,
    readable_name,
)
from postfix_mta_sts.network.mail_hosts_values import DnsProblem, MailHosts, MxHost
from tests.support.dns import DnsServer, Fault, Records
from tests.support.dns_clients import open_client

SECONDS = 60.0
"""For a look-up that is to end: enough for a busy machine."""
MX1 = {"good.test MX": ["10 mx1.good.test."]}
AT_MX1, SIX_AT_MX1 = "mx1.good.test A", "mx1.good.test AAAA"
FAILURE = "SERVFAIL from the name server"

Zone = Mapping[str, Sequence[str] | Records | Fault]


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    """A name server with an empty zone."""
    async with DnsServer() as server:
        yield server


@pytest.fixture
async def dns(server: DnsServer) -> AsyncIterator[DnsClient]:
    """A client of that server."""
    async with open_client(server.address) as dns:
        yield dns


class TestMailHosts:
    """Which hosts there are."""

    @pytest.mark.parametrize(
        ("zone", "expected"),
        [
            pytest.param(
                {
                    "good.test MX": [
                        "20 mx3.good.test.",
                        "10 mx2.good.test.",
                        "10 MX1.good.test.",
                        "5 mx3.good.test.",
                    ],
                    AT_MX1: ["192.0.2.1"],
                    "mx2.good.test A": ["192.0.2.2"],
                    "mx3.good.test A": ["192.0.2.3"],
                },
                MailHosts(
                    (
                        MxHost("mx3.good.test", 5, ("192.0.2.3",)),
                        MxHost("mx1.good.test", 10, ("192.0.2.1",)),
                        MxHost("mx2.good.test", 10, ("192.0.2.2",)),
                        MxHost("mx3.good.test", 20, ("192.0.2.3",)),
                    )
                ),
                id="by preference, then by name",
            ),
            pytest.param(
                {"good.test A": ["192.0.2.1"]},
                MailHosts((MxHost("good.test", 0, ("192.0.2.1",)),), implicit=True),
                id="implicit MX",
            ),
            pytest.param(
                {"good.test CNAME": ["other.test."], "other.test A": ["192.0.2.1"]},
                MailHosts(
                    (MxHost("good.test", 0, ("192.0.2.1",), ("other.test",)),),
                    implicit=True,
                    aliases=("other.test",),
                ),
                id="implicit MX by a CNAME",
            ),
            pytest.param(
                {},
                MailHosts(
                    (MxHost("good.test", 0, (), (), DnsProblem.NO_SUCH_NAME, "NXDOMAIN"),),
                    implicit=True,
                ),
                id="no such domain",
            ),
            pytest.param(
                {"good.test TXT": ['"v=spf1 -all"']},
                MailHosts(
                    (MxHost("good.test", 0, (), (), DnsProblem.NO_RECORDS, "no address"),),
                    implicit=True,
                ),
                id="neither MX nor address",
            ),
            pytest.param(
                {"good.test MX": ["0 ."]},
                MailHosts((), problem=DnsProblem.NULL_MX, reason="a null MX record (RFC 7505)"),
                id="null MX",
            ),
            pytest.param(
                {"good.test MX": ["0 .", "10 mx1.good.test."]},
                MailHosts(
                    (),
                    problem=DnsProblem.NULL_MX,
                    reason="a null MX record (RFC 7505), beside other MX records",
                ),
                id="null MX beside others",
            ),
            pytest.param(
                {"good.test MX": Fault.SERVFAIL, "good.test A": ["192.0.2.1"]},
                MailHosts((), problem=DnsProblem.FAILURE, reason=f"MX of good.test: {FAILURE}"),
                id="MX fails",
            ),
            pytest.param(
                {
                    "good.test CNAME": ["far.test."],
                    "far.test CNAME": ["near.test."],
                    "near.test MX": ["10 mx1.good.test."],
                    "mx1.good.test CNAME": ["host.test."],
                    "host.test A": ["192.0.2.1"],
                },
                MailHosts(
                    (MxHost("mx1.good.test", 10, ("192.0.2.1",), ("host.test",)),),
                    aliases=("far.test", "near.test"),
                ),
                id="CNAMEs",
            ),
        ],
    )
    async def test_mail_hosts(
        self, dns: DnsClient, server: DnsServer, zone: Zone, expected: MailHosts
    ) -> None:
        """The MX RRset decides, else the domain is its own host (RFC 5321 §5.1)."""
        server.zone.update(zone)
        assert await look_up_mail_hosts("Good.test", dns, SECONDS) == expected

    @pytest.mark.parametrize("has_mx", [True, False])
    @pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
    async def test_address_literals(
        self, dns: DnsClient, server: DnsServer, address: str, *, has_mx: bool
    ) -> None:
        """An address is its own mail host, without a query."""
        found = await look_up_mail_hosts(address, dns, SECONDS, has_mx=has_mx)
        assert found == MailHosts((MxHost(address, 0, (address,)),), implicit=True)
        assert server.queries.total == 0

    async def test_brackets(self, dns: DnsClient, server: DnsServer) -> None:
        """A name in brackets is its own mail host; its MX records are not queried."""
        server.zone |= {**MX1, "good.test A": ["192.0.2.1"]}
        found = await look_up_mail_hosts("good.test", dns, SECONDS, has_mx=False)
        assert found == MailHosts((MxHost("good.test", 0, ("192.0.2.1",)),), implicit=True)
        assert server.queries["good.test", "MX"] == 0

    @pytest.mark.parametrize(
        "host",
        [
            *("", "a b", "-a.test", "a-.test", "a..test", "good.test.", "bücher.test", "1.2.3"),
            pytest.param("a" * 64 + ".test", id="long label"),
            pytest.param(f"{'a' * 50}." * 5 + "test", id="long name"),
        ],
    )
    async def test_no_host_name(self, dns: DnsClient, server: DnsServer, host: str) -> None:
        """What is no host name is not queried."""
        (found,) = (await look_up_mail_hosts(host, dns, SECONDS)).hosts
        assert (found.problem, server.queries.total) == (DnsProblem.INVALID, 0)
        assert found.name.isascii()


class TestAddresses:
    """What is found for one MX host."""

    @pytest.mark.parametrize(
        ("zone", "expected"),
        [
            pytest.param(
                {AT_MX1: ["192.0.2.1"], SIX_AT_MX1: ["2001:db8::1"]},
                MxHost("mx1.good.test", 10, ("192.0.2.1", "2001:db8::1")),
                id="both families, IPv4 first",
            ),
            pytest.param(
                {SIX_AT_MX1: ["2001:db8::1"]},
                MxHost("mx1.good.test", 10, ("2001:db8::1",)),
                id="IPv6 only",
            ),
            pytest.param(
                {AT_MX1: ["192.0.2.1"], SIX_AT_MX1: Fault.SERVFAIL},
                MxHost("mx1.good.test", 10, ("192.0.2.1",), reason=f"AAAA: {FAILURE}"),
                id="one family fails",
            ),
            pytest.param(
                {AT_MX1: Fault.SERVFAIL, SIX_AT_MX1: Fault.NODATA},
                MxHost("mx1.good.test", 10, (), (), DnsProblem.FAILURE, f"A: {FAILURE}"),
                id="one family fails, the other has none",
            ),
            pytest.param(
                {AT_MX1: Fault.REFUSED, SIX_AT_MX1: Fault.SERVFAIL},
                MxHost(
                    "mx1.good.test",
                    10,
                    problem=DnsProblem.FAILURE,
                    reason=f"A: REFUSED from the name server, AAAA: {FAILURE}",
                ),
                id="both fail",
            ),
            pytest.param(
                {},
                MxHost("mx1.good.test", 10, (), (), DnsProblem.NO_SUCH_NAME, "NXDOMAIN"),
                id="no such host",
            ),
            pytest.param(
                {"mx1.good.test TXT": ['"x"']},
                MxHost("mx1.good.test", 10, (), (), DnsProblem.NO_RECORDS, "no address"),
                id="no address",
            ),
            pytest.param(
                {"mx1.good.test CNAME": ["gone.test."]},
                MxHost(
                    "mx1.good.test", 10, (), ("gone.test",), DnsProblem.NO_SUCH_NAME, "NXDOMAIN"
                ),
                id="a CNAME that leads nowhere",
            ),
        ],
    )
    async def test_addresses(
        self, dns: DnsClient, server: DnsServer, zone: Zone, expected: MxHost
    ) -> None:
        """All addresses are found, or why there are none."""
        server.zone |= {**MX1, **zone}
        assert (await look_up_mail_hosts("good.test", dns, SECONDS)).hosts == (expected,)

    async def test_many_addresses(self, dns: DnsClient, server: DnsServer) -> None:
        """Of each family `MAX_ADDRESSES` count."""
        server.zone |= {
            **MX1,
            AT_MX1: [f"192.0.2.{n}" for n in range(40)],
            SIX_AT_MX1: [f"2001:db8::{n}" for n in range(40)],
        }
        (host,) = (await look_up_mail_hosts("good.test", dns, SECONDS)).hosts
        assert len(host.addresses) == 2 * MAX_ADDRESSES

    @pytest.mark.parametrize(
        ("target", "name", "address"),
        [
            ("192.0.2.1.", "192.0.2.1", "192.0.2.1"),
            (r"2001:db8::1.", "2001:db8::1", "2001:db8::1"),
        ],
    )
    async def test_address_in_place_of_a_name(
        self, dns: DnsClient, server: DnsServer, target: str, name: str, address: str
    ) -> None:
        """Postfix takes a numeric MX host as the address that it is (smtp_addr_one)."""
        server.zone["good.test MX"] = [f"10 {target}"]
        (host,) = (await look_up_mail_hosts("good.test", dns, SECONDS)).hosts
        assert (host.name, host.addresses, host.problem) == (name, (address,), None)
        assert "not a host name" in host.reason
        assert server.queries.total == 1

    @pytest.mark.parametrize(
        ("target", "name"),
        [
            (r"mx\ a.good.test.", "mx a.good.test"),
            (r"mx\.a.good.test.", r"mx\046a.good.test"),
            (r"\000.good.test.", r"\000.good.test"),
            ("-mx.good.test.", "-mx.good.test"),
            ("10.20.", "10.20"),
            ("mx.*.test.", "mx.*.test"),
        ],
    )
    async def test_no_host_name(
        self, dns: DnsClient, server: DnsServer, target: str, name: str
    ) -> None:
        """An MX host that is no host name is not queried (valid_hostname)."""
        server.zone["good.test MX"] = [f"10 {target}"]
        (host,) = (await look_up_mail_hosts("good.test", dns, SECONDS)).hosts
        assert (host.name, host.problem) == (name, DnsProblem.INVALID)
        assert server.queries.total == 1

    async def test_wildcard(self, dns: DnsClient, server: DnsServer) -> None:
        """Postfix accepts `*` as the first label of an MX host, and queries it."""
        server.zone |= {"good.test MX": ["10 *.good.test."], r"\042.good.test A": ["192.0.2.9"]}
        server.zone["*.good.test A"] = ["192.0.2.1"]
        (host,) = (await look_up_mail_hosts("good.test", dns, SECONDS)).hosts
        assert (host.name, host.addresses) == ("*.good.test", ("192.0.2.1",))


class TestLimits:
    """Bounds in hosts, in queries at a time and in seconds."""

    async def test_fifty_hosts(self, dns: DnsClient, server: DnsServer) -> None:
        """Of more hosts than `MAX_HOSTS` the least preferred are not looked up, and counted."""
        names = [f"mx{n:02}.good.test" for n in range(MAX_HOSTS + 3)]
        server.zone["good.test MX"] = [f"{n} {name}." for n, name in enumerate(names)]
        hosts = (await look_up_mail_hosts("good.test", dns, SECONDS)).hosts
        assert [each.name for each in hosts] == names[: MAX_HOSTS + 1]
        assert hosts[-1].reason == "3 more MX hosts than 50 are not looked up"
        assert server.queries.total == 1 + 2 * MAX_HOSTS

    async def test_hosts_at_once(self, dns: DnsClient, server: DnsServer) -> None:
        """At most `HOSTS_AT_ONCE` hosts are looked up at the same time; each one once."""
        hosts = [f"{n % 10} mx{n}.good.test." for n in range(HOSTS_AT_ONCE + 5)]
        server.zone["good.test MX"] = [*hosts, "40 mx0.good.test."]
        server.hold()
        server.unheld = {"good.test"}
        search = asyncio.create_task(look_up_mail_hosts("good.test", dns, SECONDS))
        await server.queries.total_reached(1 + 2 * HOSTS_AT_ONCE)
        for _ in range(20):
            await asyncio.sleep(0)
        assert server.queries.total == 1 + 2 * HOSTS_AT_ONCE
        server.release()
        assert len((await search).hosts) == HOSTS_AT_ONCE + 6
        assert server.queries.total == 1 + 2 * (HOSTS_AT_ONCE + 5)

    async def test_deadline(self, dns: DnsClient, server: DnsServer) -> None:
        """A host that is not finished in time has failed."""
        server.hold()
        found = await look_up_mail_hosts("good.test", dns, 0.01, has_mx=False)
        (host,) = found.hosts
        assert (host.problem, host.reason) == (DnsProblem.FAILURE, "not finished within 0.01 s")

    async def test_deadline_of_the_mx_query(self, dns: DnsClient, server: DnsServer) -> None:
        """Without an answer to the MX query in time, there are no hosts."""
        server.hold()
        found = await look_up_mail_hosts("good.test", dns, 0.01)
        assert (found.hosts, found.problem) == ((), DnsProblem.FAILURE)
        assert found.reason == "MX of good.test: not finished within 0.01 s"

    async def test_finished_hosts(self, dns: DnsClient, server: DnsServer) -> None:
        """At the deadline the finished hosts keep their addresses."""
        server.zone |= {
            "good.test MX": ["10 mx1.good.test.", "20 mx2.good.test."],
            AT_MX1: ["192.0.2.1"],
        }
        server.hold()
        server.unheld = {"good.test", "mx1.good.test"}
        first_is_finished = asyncio.Event()

        def on_progress(found: MailHosts) -> None:
            if found.hosts[0].addresses:
                first_is_finished.set()

        search = mail_hosts_module._Search("good.test", dns, on_progress)
        running = asyncio.create_task(search.run(has_mx=True))
        await first_is_finished.wait()
        running.cancel()
        search.give_up("late")
        assert search.result.hosts == (
            MxHost("mx1.good.test", 10, ("192.0.2.1",)),
            MxHost("mx2.good.test", 20, problem=DnsProblem.FAILURE, reason="late"),
        )

    async def test_progress(self, dns: DnsClient, server: DnsServer) -> None:
        """The hosts are told once they are known, and again as each is finished."""
        server.zone |= {"good.test MX": ["10 mx1.good.test.", "20 mx2.good.test."]}
        seen: list[MailHosts] = []
        found = await look_up_mail_hosts("good.test", dns, SECONDS, on_progress=seen.append)
        assert [[h.reason == PENDING for h in each.hosts].count(True) for each in seen] == [2, 1, 0]
        assert seen[-1] == found


HOSTS = st.from_regex(r"[a-z0-9.*:\\ -]{1,9}|[.]|\\0[0-9]{2}", fullmatch=True)


class TestPure:
    """`mail_hosts` and `readable_name` for any names that the DNS can have."""

    @given(st.lists(st.builds(Mx, st.integers(0, 65535), HOSTS), max_size=60))
    def test_order_and_bound(self, records: list[Mx]) -> None:
        """Hosts are ordered by preference, bounded, printable; only a null MX has a problem."""
        found = mail_hosts("good.test", DnsResponse(0, records=tuple(records)))
        preferences = [each.preference for each in found.hosts]
        assert preferences == sorted(preferences)
        assert len(found.hosts) <= MAX_HOSTS + 1
        assert found.implicit == (not records)
        assert (found.problem is DnsProblem.NULL_MX) == any(r.host == "." for r in records)
        assert bool(found.hosts) == (found.problem is None)

    @given(st.lists(st.binary(min_size=1, max_size=63), min_size=1, max_size=3))
    def test_any_octets(self, labels: list[bytes]) -> None:
        """Any name of the DNS becomes one line of printable ASCII with as many labels."""
        wire = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
        name = readable_name(decode_name(wire, 0)[0])
        assert re.fullmatch(r"[ -~]+", name)
        assert name.count(".") == len(labels) - 1
