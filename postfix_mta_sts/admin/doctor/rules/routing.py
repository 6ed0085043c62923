"""Rules for ways of mail on which the policies of its recipients' domains do not apply.

Postfix asks for the policy of the next-hop. If main.cf names another host for it, that host's
policy is asked for, and what the domain has published is never looked up (postconf(5)).
"""

import shlex
from collections.abc import Iterator
from typing import Final

from postfix_mta_sts.admin.doctor.commands import (
    also_reload,
    postconf_set,
    postconf_unset,
    then_run,
)
from postfix_mta_sts.admin.doctor.for_services import smtp_services
from postfix_mta_sts.admin.doctor.report import Effect, Finding
from postfix_mta_sts.admin.doctor.snapshot import Snapshot
from postfix_mta_sts.postfix.installed.values import Instance
from postfix_mta_sts.postfix.policy_maps import split_tables

_WHY: Final = (
    "Postfix asks for the policy of that host, and policies of recipients' domains never apply; "
    "the daemon is of use only if mail leaves directly"
)
_BY_SENDER: Final = ("sender_dependent_relayhost_maps", "sender_dependent_default_transport_maps")
_IN_TEXT: Final = frozenset({"texthash"})
_INDEXED: Final = frozenset({"hash", "btree", "lmdb", "dbm", "cdb", "sdbm"})
"""Types of tables that are made of a text file, by postmap(1)."""
_CATCH_ALL: Final = r"/^\*[[:space:]]/d"


def relayhost(snapshot: Snapshot) -> Iterator[Finding]:
    """`relayhost`: all mail leaves by one host."""
    for instance in snapshot.instances:
        if value := _known(instance, "relayhost"):
            mend = postconf_set(instance, "relayhost", "")
            yield _finding(instance, "relayhost", f"relayhost is {value}", mend)


def default_transport(snapshot: Snapshot) -> Iterator[Finding]:
    """`default_transport`: the same, or mail does not leave by smtp(8)."""
    for instance in snapshot.instances:
        value = _known(instance, "default_transport", "smtp")
        if not _is_direct(instance, value):
            mend = postconf_set(instance, "default_transport", "smtp")
            yield _finding(instance, "default-transport", f"default_transport is {value}", mend)


def catch_all(snapshot: Snapshot) -> Iterator[Finding]:
    """`transport-catch-all`: the same by transport_maps, which has an entry for any domain."""
    for instance in snapshot.instances:
        if instance.catch_all is not None and not _is_direct(instance, instance.catch_all):
            what = f"transport_maps sends mail for any domain to {instance.catch_all}"
            yield _finding(instance, "transport-catch-all", what, _without_catch_all(instance))


def by_sender(snapshot: Snapshot) -> Iterator[Finding]:
    """`sender-relayhost`: the same for some senders."""
    for instance in snapshot.instances:
        names = [name for name in _BY_SENDER if _known(instance, name)]
        if names:
            what = ", ".join(f"{name} is {instance.parameters[name]}" for name in names)
            mend = also_reload(instance, postconf_unset(instance, *names))
            yield _finding(instance, "sender-relayhost", what, mend)


RULES: Final = (relayhost, default_transport, catch_all, by_sender)


def _known(instance: Instance, name: str, default: str = "") -> str:
    """The value in main.cf; the default if it is not there, or not known."""
    return default if name in instance.unknown else instance.parameters.get(name, default)


def _is_direct(instance: Instance, entry: str) -> bool:
    """Whether an entry `transport:next-hop` (transport(5)) leads to smtp(8) and the domain."""
    transport, _, next_hop = entry.partition(":")
    own = {each.name.partition("/")[0] for each in smtp_services(instance)}
    return not next_hop and transport in own | {"", "smtp"}


def _without_catch_all(instance: Instance) -> str:
    """Delete `*` in files; without a file, empty the parameter. Each table may be the one."""
    tables = split_tables(instance.parameters.get("transport_maps", ""))
    deleted = [command for table in tables if (command := _without_entry(table))]
    if not deleted:
        return postconf_set(instance, "transport_maps", "")
    return also_reload(instance, then_run(*deleted))


def _without_entry(table: str) -> str:
    """Delete `*` in the file of a table; empty: it has none of this form."""
    type_, _, file = table.removeprefix("proxy:").partition(":")
    if not file.startswith("/") or type_ not in _IN_TEXT | _INDEXED:
        return ""
    index = shlex.join(["postmap", f"{type_}:{file}"]) if type_ in _INDEXED else ""
    return then_run(shlex.join(["sed", "-i", _CATCH_ALL, file]), index)


def _finding(instance: Instance, id_: str, what: str, mend: str) -> Finding:
    return Finding(id_, Effect.NONE, what, _WHY, mend, instance.name)
