"""Rules for the other tables of smtp_tls_policy_maps, beside the daemon's, or with it. Pure."""

import re
import shlex
from collections.abc import Iterator
from typing import Final

from postfix_mta_sts.admin.doctor.commands import also_reload, then_run
from postfix_mta_sts.admin.doctor.groups import is_in_pipemap, is_shared
from postfix_mta_sts.admin.doctor.own_tables import (
    HELD,
    bare,
    each_table,
    is_malformed,
    is_of_unknown_type,
    is_own,
    leads_here,
    of_main_cf,
    type_of,
)
from postfix_mta_sts.admin.doctor.report import Effect, Finding
from postfix_mta_sts.admin.doctor.right_map import having, mend_map, named
from postfix_mta_sts.admin.doctor.snapshot import Snapshot
from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.postfix.installed.values import Instance, TableSeen

_INDEXED: Final = frozenset({"btree", "cdb", "dbm", "hash", "lmdb", "sdbm"})
"""postmap(1) makes an index of the file."""
_TEXTS: Final = frozenset({"cidr", "pcre", "regexp", "texthash"})
_MISSING: Final = "No such file or directory"
_DENIED: Final = "Permission denied"
_SHOWN: Final = 3


def fails(snapshot: Snapshot) -> Iterator[Finding]:
    """`table-before-fails`: wherever it stands, each look-up asks it, or may."""
    for instance, table in _others(snapshot):
        if table.error:
            yield Finding(
                "table-before-fails",
                Effect.HELD,
                f"the table {printable(table.name)} cannot be read: {table.error}",
                HELD,
                _make(table, instance),
                instance.name,
            )


def answers(snapshot: Snapshot) -> Iterator[Finding]:
    """`table-before-answers`: Postfix asks no table after one that has an answer."""
    for instance in snapshot.instances:
        for table in _before_own(instance, snapshot):
            if table.answer is not None:
                yield Finding(
                    "table-before-answers",
                    Effect.UNPROTECTED,
                    f"the table {printable(table.name)}, before that of the daemon, answers "
                    f"{table.answer} for every domain",
                    "Postfix never asks the daemon, and no policy is enforced",
                    mend_map(instance, snapshot),
                    instance.name,
                )


def entries(snapshot: Snapshot) -> Iterator[Finding]:
    """`table-entry-bad`: entries that this Postfix does not understand."""
    for instance, table in _others(snapshot):
        if table.bad_entries:
            yield Finding(
                "table-entry-bad",
                Effect.HELD,
                f"the table {printable(table.name)} has entries that Postfix cannot use: "
                f"{_shown(table)}",
                "Postfix holds mail to these domains",
                _without_entries(table, instance),
                instance.name,
            )


def in_pipemap(snapshot: Snapshot) -> Iterator[Finding]:
    """`map-in-pipemap`: the daemon is not asked for the domain, or its answer is used as a key."""
    for instance, table in each_table(snapshot):
        if is_in_pipemap(table, instance, snapshot):
            yield Finding(
                "map-in-pipemap",
                Effect.UNPROTECTED,
                f"smtp_tls_policy_maps has {printable(table.name)}, where the table of the daemon "
                "is not alone in a pipemap",
                "A pipemap looks up the result of one table in the next, so that no policy is "
                "enforced",
                mend_map(instance, snapshot, having(table, instance)),
                instance.name,
                named(table, instance),
            )


def in_unionmap(snapshot: Snapshot) -> Iterator[Finding]:
    """`map-in-unionmap`: two answers together, such as `may,secure`, are none."""
    for instance, table in each_table(snapshot):
        is_piped = is_in_pipemap(table, instance, snapshot)
        if is_shared(table, snapshot) and not is_piped:
            yield Finding(
                "map-in-unionmap",
                Effect.HELD,
                f"smtp_tls_policy_maps has {printable(table.name)}, where the table of the daemon "
                "is not alone in a unionmap",
                "A unionmap joins the answers of its tables, and Postfix holds mail to each domain "
                "for which two of them have one",
                mend_map(instance, snapshot, having(table, instance)),
                instance.name,
                named(table, instance),
            )


RULES: Final = (fails, answers, entries, in_pipemap, in_unionmap)


def _others(snapshot: Snapshot) -> Iterator[tuple[Instance, TableSeen]]:
    """The tables that ask no server, and that `maps` has no finding about."""
    for instance, table in each_table(snapshot):
        is_bad = is_malformed(table) or is_of_unknown_type(table, instance)
        if not (table.server or is_bad or is_own(table, snapshot)):
            yield instance, table


def _before_own(instance: Instance, snapshot: Snapshot) -> Iterator[TableSeen]:
    """The tables of main.cf before that of the daemon; none if it has none."""
    tables = of_main_cf(instance)
    leads = [leads_here(each, instance, snapshot) for each in tables]
    yield from tables[: leads.index(True)] if any(leads) else ()


def _make(table: TableSeen, instance: Instance) -> str:
    """The command that makes what is missing, an empty file or an index; empty: none can."""
    kind, touched = type_of(table), ""
    if _MISSING in table.error and table.file:
        touched = shlex.join(("touch", table.file))
    if kind in _INDEXED and _DENIED not in table.error:
        return also_reload(instance, then_run(touched, _index(table)))
    return also_reload(instance, touched) if kind in _TEXTS and touched else ""


def _without_entries(table: TableSeen, instance: Instance) -> str:
    """The command that removes bad entries from the file; empty: there is no file."""
    if not table.file:
        return ""
    patterns = (f"/^{_pattern(key)}[[:space:]]/Id" for key, _ in table.bad_entries)
    edits = [word for each in patterns for word in ("-e", each)]
    index = _index(table) if type_of(table) in _INDEXED else ""
    return also_reload(instance, then_run(shlex.join(("sed", "-i", *edits, table.file)), index))


def _pattern(key: str) -> str:
    """The key as a basic regular expression (sed(1))."""
    return re.sub(r"([\\/.*\[\]^$])", r"\\\1", key)


def _index(table: TableSeen) -> str:
    return shlex.join(("postmap", bare(table)))


def _shown(table: TableSeen) -> str:
    """The first entries, each with the reason."""
    shown = [f"{key} ({reason})" for key, reason in table.bad_entries[:_SHOWN]]
    more = len(table.bad_entries) - len(shown)
    return ", ".join(shown) + (f", and {more} more" if more else "")
