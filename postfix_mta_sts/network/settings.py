"""What of the settings the one who asks the network goes by.

Border: values alone, checked before. They go over to a process (`child`) that neither reads
configurations nor opens the files named there, so that it begins sooner, and begins anew with
what was good once, whatever has become of the files since.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from postfix_mta_sts.config import field_types

if TYPE_CHECKING:  # an import at run time would bring along what reads them
    from postfix_mta_sts.config.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSettings:
    """Made by `of`; times are in seconds."""

    nameservers: Sequence[str]
    """As in `dns.nameservers`; none: those of the system."""
    dns_timeout: float
    trust_ad: bool
    https_timeout: float
    https_port: int
    authorities: str | None
    """CA certificates, in PEM; None: those of the system."""
    proxy: str | None
    allow_private_addresses: bool
    concurrency: int
    log_level: str
    log_format: str

    @classmethod
    def of(cls, settings: "Settings", https_port: int = 443) -> "NetworkSettings":
        """The settings' part in it; raises `OSError` for a CA file that cannot be used.

        `https_port`, that of the Policy Hosts, is for tests.
        """
        dns, https, log = settings.dns, settings.https, settings.log
        return cls(
            nameservers=dns.nameservers,
            dns_timeout=dns.timeout,
            trust_ad=dns.trust_ad,
            https_timeout=https.timeout,
            https_port=https_port,
            authorities=field_types.authorities(https.ca_file) if https.ca_file else None,
            proxy=https.proxy,
            allow_private_addresses=https.allow_private_addresses,
            concurrency=https.concurrency,
            log_level=log.level,
            log_format=log.format,
        )
