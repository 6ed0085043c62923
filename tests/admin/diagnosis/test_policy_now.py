"""What is found of a TXT record."""

import pytest

from postfix_mta_sts.admin.diagnosis.policy_now import look_up_record
from tests.support.dns import DnsServer
from tests.support.dns_clients import open_client

HERE, THERE = "_mta-sts.x.test", "_mta-sts.host.test"


@pytest.mark.parametrize("there", [{}, {f"{THERE} A": ["127.0.0.1"]}], ids=["NXDOMAIN", "NODATA"])
async def test_alias_to_nothing(there: dict[str, list[str]]) -> None:
    """A CNAME is shown although it leads to no record: that is what has to be corrected."""
    async with (
        DnsServer({f"{HERE} CNAME": [f"{THERE}."], **there}) as dns,
        open_client(dns.address) as client,
    ):
        record, answer = await look_up_record(HERE, client)
    assert answer is None
    assert (record.texts, record.aliases) == (None, (THERE,))
