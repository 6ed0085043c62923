"""An instance of Postfix with services, for tests of what looks at its tables."""

from pathlib import Path

from postfix_mta_sts.postfix.installed.values import Instance, Service
from postfix_mta_sts.postfix.smtp_client.values import MainCf


def service(name: str = "smtp", *, tables: str = "", chrooted: bool = False) -> Service:
    """A service with this value of smtp_tls_policy_maps."""
    main_cf = MainCf(version=(3, 10, 13), smtp_tls_policy_maps=tables)
    return Service(f"{name}/unix", "smtp", chrooted, main_cf)


def instance(queue: Path, *services: Service, **parameters: str) -> Instance:
    """An instance with this queue directory; its main.cf has the tables of the first service."""
    given = {"queue_directory": str(queue)}
    if services:
        given["smtp_tls_policy_maps"] = services[0].main_cf.smtp_tls_policy_maps
    return Instance("-", "/etc/postfix", given | parameters, services)
