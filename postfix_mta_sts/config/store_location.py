"""Where a shared store is; `store_url` reads it from a URL."""

import enum
import ipaddress
from dataclasses import dataclass, field

from postfix_mta_sts.config.address import TcpAddress, is_ip


class EngineName(enum.StrEnum):
    """What speaks at the location."""

    REDIS = "redis"
    """Valkey, or Redis."""
    POSTGRESQL = "postgresql"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreLocation:
    """Where a shared store is; `str` is the URL without the password."""

    engine: EngineName
    addresses: tuple[TcpAddress, ...]
    """One; of a Sentinel, those of all Sentinels; none, if there is a `path`."""
    path: str | None = None
    """The file of a UNIX socket, in place of addresses."""
    database: str
    """A number for Redis, a name for PostgreSQL."""
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    sentinel: str | None = None
    """The name of the primary, if the addresses are those of Sentinels."""
    shown: str = ""
    """The URL without the password."""

    def __str__(self) -> str:
        return self.shown

    @property
    def is_loopback(self) -> bool:
        """Whether the store is on this machine; of Sentinels nobody can say."""
        return self.sentinel is None and all(is_loopback(each.host) for each in self.addresses)


def is_loopback(host: str) -> bool:
    """Whether a host of a URL is this machine."""
    return ipaddress.ip_address(host).is_loopback if is_ip(host) else host == "localhost"
