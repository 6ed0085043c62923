"""The settings that the network process needs.

Values only, validated by `config` before. They are sent to a process (`child`) that does not read
configuration files. So it starts sooner, and it can be started again with settings that were valid
once, even if those files have changed since. The CA file is looked at again (`authorities`).
"""

from typing import TYPE_CHECKING

from postfix_mta_sts.config import field_types
from postfix_mta_sts.store.fleet.settings import SharedStoreSettings
from postfix_mta_sts.values import Value

if TYPE_CHECKING:  # an import at run time would load the YAML reader in the network process
    from postfix_mta_sts.config.settings import Settings


class NetworkSettings(Value, frozen=True, kw_only=True):
    """Made by `of`; times are in seconds."""

    nameservers: tuple[str, ...]
    """As in `dns.nameservers`; empty: those of the system."""
    dns_timeout: float
    trust_ad: bool
    https_timeout: float
    https_port: int
    smtp_port: int = 25
    authorities: str | None
    """CA certificates in PEM; None: those of the system."""
    ca_file: str | None
    """The file that they were read from; see `authorities`."""
    proxy: str | None
    allow_private_addresses: bool | tuple[str, ...]
    """True: all; a tuple: those in these prefixes."""
    concurrency: int
    log_level: str
    log_format: str
    fleet: SharedStoreSettings | None = None
    """None: there is no shared store. `of` sets none: only the daemon may read the files for it."""
    sandbox: bool = False
    """Whether the network process restricts itself (`sandbox.confine`); no other process does."""
    private: tuple[str, ...] = ()
    """Paths of the daemon that it must not read, even if they are beside its modules."""

    @classmethod
    def of(
        cls, settings: "Settings", https_port: int = 443, smtp_port: int = 25
    ) -> "NetworkSettings":
        """Select them from the settings; raises `OSError` for a CA file that cannot be used.

        `https_port` and `smtp_port`, the ports of Policy Hosts and mail servers, are for tests.
        """
        dns, https, log = settings.dns, settings.https, settings.log
        return cls(
            nameservers=tuple(dns.nameservers),
            dns_timeout=dns.timeout,
            trust_ad=dns.trust_ad,
            https_timeout=https.timeout,
            https_port=https_port,
            smtp_port=smtp_port,
            authorities=field_types.read_ca_file(https.ca_file) if https.ca_file else None,
            ca_file=str(https.ca_file) if https.ca_file else None,
            proxy=https.proxy,
            allow_private_addresses=https.allow_private_addresses,
            concurrency=https.concurrency,
            log_level=log.level,
            log_format=log.format,
            sandbox=settings.network.sandbox == "auto",
        )
