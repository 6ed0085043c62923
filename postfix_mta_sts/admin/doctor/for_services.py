"""The services of an instance that a finding concerns, and the command that mends it for them.

Pure. smtp(8) has its parameters from main.cf, unless its service in master.cf has an `-o` option.
"""

from collections.abc import Sequence

from postfix_mta_sts.admin.doctor.commands import (
    also_reload,
    postconf_set,
    service_unset,
    then_run,
)
from postfix_mta_sts.postfix.installed.values import Instance, Service


def smtp_services(instance: Instance) -> tuple[Service, ...]:
    """The services that run smtp(8); lmtp(8) has parameters of its own (lmtp_tls_…)."""
    return tuple(each for each in instance.services if each.command == "smtp")


def concerned(instance: Instance, services: Sequence[Service]) -> tuple[str, ...]:
    """The names of these services; none if they are all that run smtp(8)."""
    are_all = len(services) == len(smtp_services(instance))
    return () if are_all else tuple(each.name for each in services)


def set_for(instance: Instance, services: Sequence[Service], name: str, value: str) -> str:
    """Give a parameter to these services: in main.cf, and without options that hide it."""
    own = [each for each in services if name in each.overrides]
    unset = then_run(*(service_unset(instance, each.name, name) for each in own))
    if len(own) < len(services) or not instance.parameters.get(name):
        return then_run(unset, postconf_set(instance, name, value))
    return also_reload(instance, unset)


def asks_the_daemon(instance: Instance) -> bool:
    """Whether a table of smtp_tls_policy_maps is the daemon's."""
    return any(each.is_ours for each in instance.tables)
