"""The table of smtp_tls_policy_maps by which smtp(8) reaches the daemon. Pure."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from postfix_mta_sts.admin.doctor.groups import taken_apart
from postfix_mta_sts.admin.doctor.map_names import fits, right_name
from postfix_mta_sts.admin.doctor.own_tables import (
    asked_map,
    failure,
    is_at,
    is_chrooted,
    is_dead,
    is_group,
    is_own,
    known_as,
    leads_here,
    of_main_cf,
    settings_of,
)
from postfix_mta_sts.admin.doctor.snapshot import Snapshot
from postfix_mta_sts.config.address import TcpAddress, UnixAddress
from postfix_mta_sts.config.settings import ListenerSettings, MapSettings
from postfix_mta_sts.postfix.installed.values import Instance, TableSeen

_DEFAULT: Final = "socketmap:inet:127.0.0.1:8461:"
_HOSTS: Final = {
    "0.0.0.0": "127.0.0.1",  # noqa: S104 (replaced, not opened)
    "::": "::1",
    "localhost": "127.0.0.1",
}
"""Where smtp(8) finds a listener; a chroot may have no file that has an address for localhost."""
_LISTABLE: Final = re.compile(r"[^\s,{}]+")
"""What can stand in a list in main.cf."""


def right_table(instance: Instance, snapshot: Snapshot) -> str:
    """The table that asks the daemon, such as `socketmap:inet:127.0.0.1:8461:postfix`.

    A table that works keeps its address. The map name depends on the version of Postfix.
    """
    every = [each for table in _by_use(instance) for each in taken_apart(table, instance, snapshot)]
    found = [each for each in every if leads_here(each, instance, snapshot)]
    own = [each for each in found if is_own(each, snapshot) and not is_group(each)]
    asked = next((each.server.map_name for each in own or found if each.server), "")
    name = right_name(settings_of(snapshot), instance.version, asked)
    working = (each for each in own if not is_dead(each, instance))
    kept = (_named(each, name, instance, snapshot) for each in working)
    from_listeners = _tables(instance, snapshot, name)
    return next(filter(None, (*kept, *from_listeners)), f"{_DEFAULT}{name}")


def has_other_way(instance: Instance, snapshot: Snapshot) -> bool:
    """Whether smtp(8) may reach a listener at which it does not fail today."""
    listeners = settings_of(snapshot).listen
    return any(_way_to(each, instance, "") and not _fails(each, instance) for each in listeners)


def _by_use(instance: Instance) -> Iterator[TableSeen]:
    """The tables of main.cf, then those that only services have."""
    found = of_main_cf(instance)
    yield from found
    names = {known_as(each.name) for each in found}
    yield from (each for each in instance.tables if each.name not in names)


def _named(table: TableSeen, name: str, instance: Instance, snapshot: Snapshot) -> str:
    """The table with the right map name; empty: its protocol has none, and it must go."""
    server = table.server
    if server is None or fits(asked_map(server, settings_of(snapshot)), instance.version):
        return table.name
    return f"{table.name.rpartition(':')[0]}:{name}" if server.wire == "socketmap" else ""


def _tables(instance: Instance, snapshot: Snapshot, name: str) -> Iterator[str]:
    """Tables that lead to the listeners, the best first, and then those out of reach."""
    listeners = _listeners(instance, snapshot)
    yield from filter(None, (_way_to(each, instance, name) for each in listeners))
    for each in listeners:
        if isinstance(each.address, UnixAddress) and _can_be_listed(each):
            yield f"socketmap:{each.address}:{name}"


def _listeners(instance: Instance, snapshot: Snapshot) -> Sequence[ListenerSettings]:
    """The listeners: first those where nothing fails, and whose replies suit this Postfix.

    Of these, socketmap comes before tcp_table: it is what README names.
    """

    def rank(listener: ListenerSettings) -> tuple[bool, bool, bool]:
        has_names, form = listener.wire == "socketmap", MapSettings(tlsrpt=listener.tlsrpt)
        suits = has_names or fits(form, instance.version)
        return _fails(listener, instance), not suits, not has_names

    return sorted(settings_of(snapshot).listen, key=rank)


def _fails(listener: ListenerSettings, instance: Instance) -> bool:
    """Whether smtp(8) asks there today, in the right protocol, and fails.

    A name that has no address says nothing about the listener.
    """
    return any(
        (reach := failure(each))
        and reach.error != "unresolvable"
        and each.server.wire == listener.wire
        and is_at(each.server, listener)
        for each in instance.tables
        if each.server
    )


def _can_be_listed(listener: ListenerSettings) -> bool:
    """Whether main.cf can name a UNIX socket: tcp_table(5) has none, and a list no space."""
    return listener.wire == "socketmap" and bool(_LISTABLE.fullmatch(str(listener.address)))


def _way_to(listener: ListenerSettings, instance: Instance, name: str) -> str:
    """The table that leads to a listener; empty: smtp(8) has no way there."""
    address = listener.address
    if isinstance(address, TcpAddress):
        where = TcpAddress(_HOSTS.get(address.host, address.host), address.port)
        kind = "tcp:{}" if listener.wire == "tcp_table" else "socketmap:inet:{}:{}"
        return kind.format(where, name) if where.port else ""
    if not _can_be_listed(listener):
        return ""
    queue = instance.parameters.get("queue_directory", "/var/spool/postfix")
    if address.path.is_relative_to(queue):
        return f"socketmap:unix:{address.path.relative_to(queue)}:{name}"
    return "" if is_chrooted(instance) else f"socketmap:unix:{address.path}:{name}"
