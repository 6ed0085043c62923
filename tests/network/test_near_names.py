"""TXT records at the names where they are put by mistake."""

import asyncio

import pytest

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.mistakes import Texts, near_names
from postfix_mta_sts.network.dns import DnsClient
from postfix_mta_sts.network.near_names import look_up_near_names
from tests.support.dns import DnsServer, Fault
from tests.support.dns_clients import GOOD, open_client

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])

NAMES = near_names(GOOD)
TEXT = b"v=STSv1; id=1"


async def test_what_is_found(dns: DnsClient, server: DnsServer) -> None:
    """Each name is asked once; those with records are returned, in the order of the names."""
    server.zone["_tls.good.test TXT"] = [f'"{TEXT.decode()}"']
    server.zone["_mta_sts.good.test CNAME"] = ["there.test."]
    server.zone["there.test TXT"] = [f'"{TEXT.decode()}"']
    assert await look_up_near_names(dns, GOOD) == (
        Texts("_mta_sts.good.test", (TEXT,), ("there.test",)),
        Texts("_tls.good.test", (TEXT,)),
    )
    assert [server.queries[name, "TXT"] for name in NAMES] == [1] * len(NAMES)
    assert server.queries.total == len(NAMES)


@pytest.mark.parametrize("fault", [Fault.SERVFAIL, Fault.REFUSED, Fault.NODATA, Fault.GARBAGE])
async def test_what_fails_is_left_out(dns: DnsClient, server: DnsServer, fault: Fault) -> None:
    """A failure at one name is an absence, and the others are found."""
    server.zone["_mta_sts.good.test TXT"] = fault
    server.zone["mta-sts.good.test TXT"] = [f'"{TEXT.decode()}"']
    assert await look_up_near_names(dns, GOOD) == (Texts("mta-sts.good.test", (TEXT,)),)


async def test_what_is_late_is_left_out(server: DnsServer) -> None:
    """The wait ends after the patience, whatever the time-out of a query is."""
    server.default = Fault.SILENCE
    async with open_client(server.address, timeout=1000) as dns:
        assert await look_up_near_names(dns, GOOD, patience=0.1) == ()


async def test_a_name_that_is_too_long(dns: DnsClient, server: DnsServer) -> None:
    """A domain that leaves no room for a prefix has only its own name."""
    long = Domain(".".join(["a" * 60, "b" * 60, "c" * 60, "d" * 60, "e" * 9]))
    server.zone[f"{long} TXT"] = [f'"{TEXT.decode()}"']
    assert await look_up_near_names(dns, long) == (Texts(long, (TEXT,)),)


async def test_cancelled(server: DnsServer) -> None:
    """An interrupted look-up leaves no query behind."""
    server.default = Fault.SILENCE
    async with open_client(server.address, timeout=1000) as dns:
        looking = asyncio.create_task(look_up_near_names(dns, GOOD))
        await server.queries.total_reached(len(NAMES))
        looking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await looking
        await asyncio.sleep(0)  # the tasks of the queries end
        assert not [task for task in asyncio.all_tasks() if "_texts" in repr(task)]
