"""Rules for the table that asks the daemon: whether there is one, its form, and its map name.

Pure. `servers` has the rules for what answers at its address, and `configuration` that for a map on
trial.
"""

from collections.abc import Callable, Iterator
from typing import Final

from postfix_mta_sts.admin.doctor.commands import also_reload
from postfix_mta_sts.admin.doctor.for_services import smtp_services
from postfix_mta_sts.admin.doctor.groups import is_in_pipemap
from postfix_mta_sts.admin.doctor.map_names import (
    lacks_tlsrpt,
    right_name,
    unknown_attribute,
    written,
)
from postfix_mta_sts.admin.doctor.misspelt import has_the_map
from postfix_mta_sts.admin.doctor.own_tables import (
    HELD,
    PACKAGED,
    PARAMETER,
    are_seen,
    asked_map,
    asks_nothing_here,
    described,
    each_table,
    failure,
    is_malformed,
    is_of_unknown_type,
    is_own,
    settings_of,
    type_of,
)
from postfix_mta_sts.admin.doctor.report import Effect, Finding
from postfix_mta_sts.admin.doctor.right_map import having, mend_map, named
from postfix_mta_sts.admin.doctor.snapshot import Snapshot
from postfix_mta_sts.config.settings import MapSettings
from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.postfix.installed.values import Instance, TableSeen


def missing(snapshot: Snapshot) -> Iterator[Finding]:
    """`map-missing`: no service asks the daemon; with a smarthost there is no need to."""
    for instance in snapshot.instances:
        is_asked = not asks_nothing_here(instance, snapshot) or has_the_map(instance)
        is_seen = are_seen(instance) and _is_known(instance)
        is_needed = is_seen and not instance.parameters.get("relayhost")
        if is_needed and not is_asked and not instance.problem:
            yield Finding(
                "map-missing",
                Effect.UNPROTECTED,
                "smtp_tls_policy_maps has no table that asks the daemon",
                "No policy is enforced",
                mend_map(instance, snapshot),
                instance.name,
            )


def malformed(snapshot: Snapshot) -> Iterator[Finding]:
    """`map-syntax`: smtp(8) cannot open the table."""
    for instance, table in each_table(snapshot):
        if is_malformed(table) and not is_of_unknown_type(table, instance):
            error = f": {table.error}" if table.error else ""
            yield Finding(
                "map-syntax",
                Effect.HELD,
                f"smtp_tls_policy_maps has {printable(table.name)}, which is not a table{error}",
                HELD,
                _mend(table, instance, snapshot),
                instance.name,
                named(table, instance),
            )


def unknown_type(snapshot: Snapshot) -> Iterator[Finding]:
    """`map-type`: such as a socketmap without the word `socketmap:`."""
    for instance, table in each_table(snapshot):
        if is_of_unknown_type(table, instance):
            kind = type_of(table)
            this = "this Postfix" if instance.table_types else "Postfix"
            yield Finding(
                "map-type",
                Effect.HELD,
                f"smtp_tls_policy_maps has {printable(table.name)}, and {this} has no tables "
                f"of type {printable(kind)}",
                HELD,
                also_reload(instance, f"apt-get install -y postfix-{kind}")
                if kind in PACKAGED
                else _mend(table, instance, snapshot),
                instance.name,
                named(table, instance),
            )


def too_new(snapshot: Snapshot) -> Iterator[Finding]:
    """`map-name-too-new`: attributes that this Postfix does not know make it defer mail."""
    for instance, table, form in _asked(snapshot):
        if attribute := unknown_attribute(form, instance.version):
            yield Finding(
                "map-name-too-new",
                Effect.HELD,
                f"{described(table)} answers with {attribute}, which Postfix "
                f"{written(instance.version)} does not know",
                "Postfix holds mail to each domain with a policy",
                _mend(table, instance, snapshot),
                instance.name,
                named(table, instance),
            )


def plain(snapshot: Snapshot) -> Iterator[Finding]:
    """`map-name-plain`: an answer without the patterns of MX hosts, where Postfix compares them."""
    for instance, table, form in _asked(snapshot):
        if lacks_tlsrpt(form, instance.version):
            yield Finding(
                "map-name-plain",
                Effect.NONE,
                f"{described(table)} answers without the attributes for TLS reports, which Postfix "
                f"{written(instance.version)} knows",
                "Postfix does not compare the names of MX hosts with the policy (RFC 8461, 4.1; "
                "from 3.10.5 on), and TLS reports do not name the policy",
                "" if _weakens(table, instance, snapshot) else _mend(table, instance, snapshot),
                instance.name,
                named(table, instance),
            )


RULES: Final[tuple[Callable[[Snapshot], Iterator[Finding]], ...]] = (
    missing,
    malformed,
    unknown_type,
    too_new,
    plain,
)


def _is_known(instance: Instance) -> bool:
    """Whether main.cf, and at least one service if there are any, has a value that is known."""
    services = smtp_services(instance)
    of_services = [PARAMETER not in each.unknown for each in services]
    return PARAMETER not in instance.unknown and (any(of_services) or not services)


def _asked(snapshot: Snapshot) -> Iterator[tuple[Instance, TableSeen, MapSettings]]:
    """The tables that get answers of the daemon, with the format of these."""
    for instance, table in each_table(snapshot):
        is_lost = is_in_pipemap(table, instance, snapshot)
        if table.server and is_own(table, snapshot) and not failure(table) and not is_lost:
            yield instance, table, asked_map(table.server, settings_of(snapshot))


def _mend(table: TableSeen, instance: Instance, snapshot: Snapshot) -> str:
    return mend_map(instance, snapshot, having(table, instance))


def _weakens(table: TableSeen, instance: Instance, snapshot: Snapshot) -> bool:
    """Whether the map asked treats mode testing as enforce, and the right one does not."""
    asked = table.server.map_name if table.server else ""
    maps = settings_of(snapshot).maps
    right = right_name(settings_of(snapshot), instance.version, asked)
    is_strict = {name: bool(form.enforce_testing) for name, form in maps.items()}
    return is_strict.get(asked, False) and not is_strict.get(right, False)
