"""Rules for `-o` options of services in master.cf: they end smtp(8), or protect no mail.

Pure. Protection counts for mail to other domains only: not for the way to a content filter.
"""

from collections.abc import Iterator
from typing import Final

from postfix_mta_sts.admin.doctor.commands import also_reload, service_unset, set_command
from postfix_mta_sts.admin.doctor.for_services import smtp_services
from postfix_mta_sts.admin.doctor.own_tables import PARAMETER, asks_here, asks_nothing_here
from postfix_mta_sts.admin.doctor.report import Effect, Finding
from postfix_mta_sts.admin.doctor.right_map import mend_map
from postfix_mta_sts.admin.doctor.snapshot import Snapshot
from postfix_mta_sts.postfix.installed.daemon_options import corrected, refused
from postfix_mta_sts.postfix.installed.values import Instance, Service
from postfix_mta_sts.postfix.smtp_client.values import Level

_LEVEL: Final = "smtp_tls_security_level"
_PLAIN: Final = frozenset({"", Level.NONE.value})
_TO_A_FILTER: Final = (
    ("disable_dns_lookups", "yes"),
    ("smtp_dns_support_level", "disabled"),
    ("smtp_send_xforward_command", "yes"),
    ("smtp_host_lookup", "native"),
)
"""Options of services that know their one destination, as in FILTER_README."""


def option(snapshot: Snapshot) -> Iterator[Finding]:
    """`service-option`: smtp(8) ends at its start for an option that is no `name=value`."""
    for instance in snapshot.instances:
        for service in smtp_services(instance):
            if texts := refused(service.written):
                yield Finding(
                    "service-option",
                    Effect.HELD,
                    f"service {service.name} has -o {texts[0]}, which is not of the form "
                    "-o name=value, without spaces",
                    "smtp(8) ends at its start, so that Postfix holds the mail of this service",
                    _corrected(instance, service),
                    instance.name,
                    (service.name,),
                )


def without_map(snapshot: Snapshot) -> Iterator[Finding]:
    """`service-without-map`: one service does not ask the daemon, and others do."""
    for instance in snapshot.instances:
        if asks_nothing_here(instance, snapshot):
            continue
        for service in _sending(instance):
            if PARAMETER not in service.unknown and not asks_here(service, instance, snapshot):
                yield Finding(
                    "service-without-map",
                    Effect.UNPROTECTED,
                    f"service {service.name} does not ask the daemon{_option(service, PARAMETER)}",
                    "No policy is enforced for the mail that it sends",
                    mend_map(instance, snapshot, [service] if _has(service, PARAMETER) else []),
                    instance.name,
                    (service.name,),
                )


def plain_level(snapshot: Snapshot) -> Iterator[Finding]:
    """`service-level`: one service does without TLS; `level` has the rule for main.cf."""
    for instance in snapshot.instances:
        if instance.parameters.get(_LEVEL, "") in _PLAIN or _LEVEL in instance.unknown:
            continue
        for service in _sending(instance):
            is_plain = service.main_cf.smtp_tls_security_level in _PLAIN
            if _has(service, _LEVEL) and is_plain and _LEVEL not in service.unknown:
                yield Finding(
                    "service-level",
                    Effect.UNPROTECTED,
                    f"service {service.name} does without TLS{_option(service, _LEVEL)}",
                    "It sends mail to domains without a policy in plain text, although main.cf "
                    "wants TLS",
                    also_reload(instance, service_unset(instance, service.name, _LEVEL)),
                    instance.name,
                    (service.name,),
                )


RULES: Final = (option, without_map, plain_level)


def _corrected(instance: Instance, service: Service) -> str:
    """The command that mends the options; empty: those in master.cf have control characters."""
    if "\\" in service.written:
        return ""
    return set_command(instance, service.name, corrected(service.written))


def _sending(instance: Instance) -> Iterator[Service]:
    """The services that may send mail to other domains; what is not known may be the filter's."""
    if "content_filter" in instance.unknown:
        return
    to_filter = instance.parameters.get("content_filter", "").partition(":")[0]
    for service in smtp_services(instance):
        options = service.overrides
        has_one = any(
            name in options and (options[name] == value or name in service.unknown)
            for name, value in _TO_A_FILTER
        )
        if not has_one and service.name.partition("/")[0] != to_filter:
            yield service


def _has(service: Service, name: str) -> bool:
    return name in service.overrides


def _option(service: Service, name: str) -> str:
    """The option in master.cf, for people; empty: there is none."""
    return f" (-o {name}={service.overrides[name]})" if _has(service, name) else ""
