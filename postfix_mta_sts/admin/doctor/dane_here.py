"""Whether the daemon and Postfix do DANE (RFC 7672), each by itself.

Pure. The sentences are those of `postfix.dane`, which decides it for the daemon.
"""

from collections.abc import Mapping
from typing import Final, Literal

from postfix_mta_sts.admin.doctor.for_services import smtp_services
from postfix_mta_sts.admin.doctor.snapshot import Resolver, Snapshot
from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.config.settings import Settings
from postfix_mta_sts.postfix.dane import DaneStatus, status_by_dns, status_by_mode
from postfix_mta_sts.postfix.installed.values import Instance, Service
from postfix_mta_sts.postfix.postconf import Postfix
from postfix_mta_sts.postfix.smtp_client.values import Level

DANE_LEVELS: Final = (Level.DANE, Level.DANE_ONLY)

_DNS_PORT: Final = 53


def of_daemon(snapshot: Snapshot) -> DaneStatus | None:
    """What the daemon says of itself; else what dane.mode says. None: not known."""
    if snapshot.daemon.status is not None:
        return _reported(snapshot.daemon.status.get("dane"))
    mode = mode_of(snapshot)
    return None if mode is None or mode == "auto" else status_by_mode(mode, None)


def mode_of(snapshot: Snapshot) -> Literal["auto", "on", "off"] | None:
    """The setting dane.mode; None: the configuration is not valid."""
    return snapshot.settings.dane.mode if snapshot.settings else None


def of_service(service: Service) -> Postfix:
    """The two parameters that make smtp(8) do DANE."""
    main_cf = service.main_cf
    return Postfix(main_cf.smtp_dns_support_level, main_cf.smtp_tls_security_level)


def of_main_cf(instance: Instance) -> Postfix:
    """What the daemon sees of an instance: main.cf alone (`postfix.postconf`)."""
    names = ("smtp_dns_support_level", "smtp_tls_security_level")
    return Postfix(*(instance.parameters.get(each, "") for each in names))


def asks_for_dnssec(snapshot: Snapshot) -> bool:
    """Whether some smtp(8) does."""
    services = (each for one in snapshot.instances for each in smtp_services(one))
    return any(of_service(each).does_dane for each in services)


def by_resolver(snapshot: Snapshot, resolver: Resolver) -> DaneStatus:
    """Whether these name servers are good enough for DANE, which is wanted."""
    settings = snapshot.settings or Settings()
    return status_by_dns(
        DaneStatus(on=True, reason=""),
        ()
        if resolver.are_local or settings.dns.trust_ad
        else tuple(map(address_of, resolver.servers)),
        tuple(map(address_of, resolver.not_validating)),
    )


def expected(snapshot: Snapshot) -> DaneStatus | None:
    """What a daemon that starts now would want; None: it is not known."""
    mode, instances = mode_of(snapshot), snapshot.instances
    if instances and {"smtp_dns_support_level", "smtp_tls_security_level"} & instances[0].unknown:
        return None
    postfix = of_main_cf(instances[0]) if instances else None
    return status_by_mode(mode, postfix) if mode else None


def _reported(dane: object) -> DaneStatus | None:
    """The part of `status --json` (`admin.serialize.dane_to_json`), of whatever version."""
    if not isinstance(dane, Mapping) or not isinstance(dane.get("on"), bool):
        return None
    reason, advice = str(dane.get("reason") or ""), dane.get("advice")
    needs_attention = bool(dane.get("needs_attention"))
    return DaneStatus(dane["on"], reason, str(advice) if advice else None, needs_attention)


def address_of(server: str) -> TcpAddress:
    """A server as `Resolver` has it: an address, or `address:port`, `[v6]:port`."""
    host, bracket, port = server.removeprefix("[").rpartition("]:")
    if not bracket and server.count(":") == 1:
        host, _, port = server.partition(":")
    return TcpAddress(host, int(port)) if host and port.isdigit() else TcpAddress(server, _DNS_PORT)
