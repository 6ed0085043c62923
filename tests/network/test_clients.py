"""Whose word counts, and that nobody pays for DANE who does not do it."""

import subprocess
import sys

import pytest

from postfix_mta_sts.config.settings import DnsSettings, Settings
from postfix_mta_sts.mtasts.dane import DaneKind
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.network.clients import LazyDaneClient
from postfix_mta_sts.network.settings import NetworkSettings
from tests.support.dns import DnsServer


@pytest.mark.parametrize(("trust_ad", "untrusted"), [(False, ["192.0.2.1:53"]), (True, [])])
async def test_untrusted(untrusted: list[str], *, trust_ad: bool) -> None:
    """A name server that is not on loopback counts only on the administrator's word (T1)."""
    dns = DnsSettings(nameservers=("127.0.0.1", "192.0.2.1", "::1"), trust_ad=trust_ad)
    assert [
        str(each) for each in LazyDaneClient(NetworkSettings.of(Settings(dns=dns))).untrusted
    ] == untrusted


async def test_as_configured() -> None:
    """The name servers of the settings are asked, and no others."""
    async with DnsServer({". SOA": ["a. b. 1 2 3 4 5"]}, signed=["."]) as server:
        dane_client = LazyDaneClient(
            NetworkSettings.of(Settings(dns=DnsSettings(nameservers=(server.address,), timeout=20)))
        )
        assert await dane_client.not_validating() == []
        assert (await dane_client.look_up_dane(Domain("good.test"))).kind is DaneKind.NONE


def test_imported_late() -> None:
    """Neither running the daemon nor having a `LazyDaneClient` loads dnspython; a look-up does."""
    script = """
        import sys
        import postfix_mta_sts.daemon.assembly
        from postfix_mta_sts.config.settings import Settings
        from postfix_mta_sts.network.clients import LazyDaneClient
        from postfix_mta_sts.network.settings import NetworkSettings
        proof = LazyDaneClient(NetworkSettings.of(Settings()))
        before = "dns" in sys.modules
        proof.untrusted
        print(before, "dns" in sys.modules)
    """
    words = [sys.executable, "-c", "\n".join(map(str.strip, script.splitlines()))]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["False", "True"]
