"""Groups of tables (pipemap, unionmap) that have the daemon's among others. Pure.

DATABASE_README: a pipemap looks up the result of one table in the next, and a unionmap joins the
results of all. Neither gives a TLS policy. A group with one member is as good as that.
"""

from typing import Final

from postfix_mta_sts.admin.doctor.own_tables import (
    bare,
    is_at,
    is_own,
    leads_here,
    settings_of,
    type_of,
)
from postfix_mta_sts.admin.doctor.snapshot import Snapshot
from postfix_mta_sts.postfix.installed.values import Instance, TableSeen
from postfix_mta_sts.postfix.policy_maps import Server, is_piped, members, server_of
from postfix_mta_sts.postfix.smtp_client.values import MainCf
from postfix_mta_sts.values import replace

_ALWAYS_ANSWERS: Final = "static"


def is_shared(table: TableSeen, snapshot: Snapshot) -> bool:
    """Whether it is a group of the daemon's table and others."""
    return is_own(table, snapshot) and len(members(table.name)) > 1


def is_in_pipemap(table: TableSeen, instance: Instance, snapshot: Snapshot) -> bool:
    """Whether it is a group in which the answer of the daemon, or its key, passes another table."""
    own = _own_members(table, instance, snapshot)
    return is_shared(table, snapshot) and any(is_piped(table.name, each) for each in own)


def taken_apart(table: TableSeen, instance: Instance, snapshot: Snapshot) -> tuple[TableSeen, ...]:
    """The tables that a group should be, if the daemon's is, or should be, one of several there.

    The other tables of a pipemap are left out: entries for the keys that they get are no policies.
    """
    names = members(table.name)
    own = _own_members(table, instance, snapshot)
    if len(names) < 2 or not own or not leads_here(table, instance, snapshot):
        return (table,)
    if any(is_piped(table.name, each) for each in own):
        return (replace(table, name=own[0]),)
    return tuple(replace(table, name=each) if each in own else _other(each) for each in names)


def _own_members(table: TableSeen, instance: Instance, snapshot: Snapshot) -> tuple[str, ...]:
    """The members that ask the server of the group, or another listener of the daemon."""
    listeners = settings_of(snapshot).listen

    def is_ours(server: Server) -> bool:
        at = (each for each in listeners if each.wire == server.wire)
        return server == table.server or any(is_at(server, each) for each in at)

    def servers(name: str) -> tuple[Server, ...]:
        folder = instance.queue_directory
        seen = (
            server_of(name, MainCf(queue_directory=folder, smtp_is_chrooted=chrooted))
            for chrooted in (False, True)
        )
        return tuple(filter(None, seen))

    return tuple(each for each in members(table.name) if any(map(is_ours, servers(each))))


def _other(name: str) -> TableSeen:
    """A member of which nothing is known but its name."""
    table = TableSeen(name, server_of(name, MainCf()))
    if type_of(table) != _ALWAYS_ANSWERS:
        return table
    return replace(table, answer=bare(table).partition(":")[2])
