"""The DANE client: trusted name servers, and those of the settings."""

import pytest

from postfix_mta_sts.config.settings import DnsSettings, Settings
from postfix_mta_sts.mtasts.dane import DaneKind
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.network.clients import LazyDaneClient
from postfix_mta_sts.network.settings import NetworkSettings
from tests.support.dns import DnsServer


@pytest.mark.parametrize(("trust_ad", "untrusted"), [(False, ["192.0.2.1:53"]), (True, [])])
async def test_untrusted(untrusted: list[str], *, trust_ad: bool) -> None:
    """A name server not on loopback is trusted only if the administrator says so (T1)."""
    dns = DnsSettings(nameservers=("127.0.0.1", "192.0.2.1", "::1"), trust_ad=trust_ad)
    assert [
        str(each) for each in LazyDaneClient(NetworkSettings.of(Settings(dns=dns))).untrusted
    ] == untrusted


async def test_configured_servers() -> None:
    """The name servers of the settings are queried."""
    async with DnsServer({". SOA": ["a. b. 1 2 3 4 5"]}, signed=["."]) as server:
        dane_client = LazyDaneClient(
            NetworkSettings.of(Settings(dns=DnsSettings(nameservers=(server.address,), timeout=20)))
        )
        assert await dane_client.not_validating() == []
        assert (await dane_client.look_up_dane(Domain("good.test"))).kind is DaneKind.NONE
