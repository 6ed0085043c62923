"""What the network process may read and connect to, by the settings."""

import pytest

from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.config.settings import Settings
from postfix_mta_sts.config.store_location import EngineName, StoreLocation
from postfix_mta_sts.network.sandbox.rules import (
    FILES,
    FOLDERS,
    NEVER_WHOLE,
    WATCHED,
    allowed_folders,
    contains_any,
    is_in_any,
    ports_of,
)
from postfix_mta_sts.network.settings import NetworkSettings
from postfix_mta_sts.store.fleet.settings import SharedStoreSettings
from postfix_mta_sts.values import replace

SETTINGS = NetworkSettings.of(Settings())
ONE, OTHER = TcpAddress("192.0.2.1", 5432), TcpAddress("192.0.2.2", 5433)


def fleet(
    engine: EngineName, *addresses: TcpAddress, path: str | None = None
) -> SharedStoreSettings:
    """A shared store there."""
    location = StoreLocation(engine=engine, addresses=addresses, path=path, database="0")
    return SharedStoreSettings(
        location=location, name="mx", prefix="p", budget=0.25, keyring=None, authorities=None
    )


@pytest.mark.parametrize(
    ("changes", "ports"),
    [
        ({}, (25, 53, 443)),
        (
            {"nameservers": ("192.0.2.1", "[2001:db8::1]:5353", "192.0.2.2:54")},
            (25, 53, 54, 443, 5353),
        ),
        ({"nameservers": ("192.0.2.1:5353",)}, (25, 443, 5353)),
        ({"proxy": "http://proxy.test:3128"}, (25, 53, 3128)),
        ({"proxy": "http://user:word@proxy.test"}, (25, 53, 80)),
        ({"https_port": 8443, "smtp_port": 2525}, (53, 2525, 8443)),
        ({"fleet": fleet(EngineName.POSTGRESQL, ONE, OTHER)}, (25, 53, 443, 5432, 5433)),
        ({"fleet": fleet(EngineName.POSTGRESQL, path="/run/p/.s.PGSQL.5432")}, (25, 53, 443)),
        ({"fleet": fleet(EngineName.REDIS, path="/run/redis.sock")}, (25, 53, 443)),
        ({"fleet": fleet(EngineName.REDIS, ONE)}, None),
    ],
    ids=lambda each: "-".join(each) if isinstance(each, dict) else "",
)
def test_ports(changes: dict[str, object], ports: tuple[int, ...] | None) -> None:
    """Those of DNS, Policy Hosts or the proxy, mail servers, and the shared store."""
    assert ports_of(replace(SETTINGS, **changes)) == ports


def test_folders() -> None:
    """Each is allowed unless it contains something private, and the package in any case."""
    wanted = ("/usr/lib", "/usr/lib/python3", "/srv/app", "/srv/app/lib", "/", "/etc/ssl", "/etc")
    private = ("/etc", "/srv/app/policies.db")
    found = allowed_folders("/srv/app/postfix_mta_sts", wanted, private)
    assert found == ("/etc/ssl", "/srv/app/lib", "/srv/app/postfix_mta_sts", "/usr/lib")


def test_paths_are_compared_by_their_parts() -> None:
    """A folder whose name only begins alike is another one."""
    assert is_in_any("/usr/lib/x", ("/usr/lib",))
    assert is_in_any("/usr/lib", ("/usr/lib",))
    assert is_in_any("/usr", ("/",))
    assert not is_in_any("/usr/lib64", ("/usr/lib",))
    assert contains_any("/srv", ("/srv/app",))
    assert not contains_any("/srv/app", ("/srv",))


def test_lists() -> None:
    """No folder contains what must be private, and nothing is in two lists."""
    assert not any(contains_any(each, NEVER_WHOLE) for each in FOLDERS)
    assert len({*FOLDERS, *FILES, *WATCHED}) == len((*FOLDERS, *FILES, *WATCHED))
    assert not is_in_any("/etc/postfix-mta-sts.yml", (*FOLDERS, *FILES, *WATCHED))
