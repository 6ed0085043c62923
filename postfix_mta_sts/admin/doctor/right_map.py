"""What smtp_tls_policy_maps should be, and the command that makes it so. Pure.

`right_table` has the table of the daemon in it.
"""

from collections.abc import Sequence
from typing import Final

from postfix_mta_sts.admin.doctor.commands import (
    also_reload,
    postconf_set,
    service_unset,
    then_run,
)
from postfix_mta_sts.admin.doctor.for_services import smtp_services
from postfix_mta_sts.admin.doctor.groups import taken_apart
from postfix_mta_sts.admin.doctor.own_tables import (
    PARAMETER,
    is_group,
    known_as,
    leads_here,
    of_main_cf,
    tables_of,
)
from postfix_mta_sts.admin.doctor.right_table import right_table
from postfix_mta_sts.admin.doctor.snapshot import Snapshot
from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.postfix.installed.values import Instance, Service, TableSeen

_LONGEST: Final = 100_000
"""Characters of a command line that is shown."""


def right_map(instance: Instance, snapshot: Snapshot) -> str:
    """The value that smtp_tls_policy_maps should have: one table of the daemon, and the others.

    Tables that cannot work are left out, except those of a type that a package adds. The daemon
    comes where it was, but before a table that has an answer for every domain. A group of tables
    with the daemon in it is taken apart. One with no other member is left to the administrator,
    and so are the others then.
    """
    found = [
        each for table in of_main_cf(instance) for each in taken_apart(table, instance, snapshot)
    ]
    if any(is_group(each) and leads_here(each, instance, snapshot) for each in found):
        return ", ".join(each.name for each in found)
    leads = [leads_here(each, instance, snapshot) for each in found]
    kept = [each for each, leads_ in zip(found, leads, strict=True) if not leads_]
    before = leads.index(True) if any(leads) else len(kept)
    answering = next((i for i, each in enumerate(kept) if each.answer is not None), len(kept))
    names = [each.name for each in kept]
    names.insert(min(before, answering), right_table(instance, snapshot))
    return ", ".join(names)


def mend_map(instance: Instance, snapshot: Snapshot, services: Sequence[Service] = ()) -> str:
    """The command that puts the right map into main.cf, and removes the options of `services`.

    Empty: all is as it should be, it cannot be written as text, or main.cf has a value that is not
    known.
    """
    if PARAMETER in instance.unknown:
        return ""
    unset = then_run(*(service_unset(instance, each.name, PARAMETER) for each in services))
    right = right_map(instance, snapshot)
    if printable(right, _LONGEST) != right:
        return ""
    if right != ", ".join(each.name for each in of_main_cf(instance)):
        return then_run(unset, postconf_set(instance, PARAMETER, right))
    return unset and also_reload(instance, unset)


def having(table: TableSeen, instance: Instance) -> tuple[Service, ...]:
    """The services with an `-o` option that names the table."""

    def names(service: Service) -> set[str]:
        own = tables_of(instance, service.overrides.get(PARAMETER, ""))
        return {known_as(each.name) for each in own}

    name = known_as(table.name)
    return tuple(each for each in smtp_services(instance) if name in names(each))


def named(table: TableSeen, instance: Instance) -> tuple[str, ...]:
    """The names of these services; none if main.cf has the table, too."""
    name = known_as(table.name)
    if any(known_as(each.name) == name for each in of_main_cf(instance)):
        return ()
    return tuple(each.name for each in having(table, instance))
