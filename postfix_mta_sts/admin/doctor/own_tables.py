"""Which tables of smtp_tls_policy_maps ask the daemon, or would if they were right. Pure."""

import re
from collections.abc import Iterator
from typing import Final

from postfix_mta_sts.admin.doctor.for_services import smtp_services
from postfix_mta_sts.admin.doctor.snapshot import Snapshot
from postfix_mta_sts.config.address import TcpAddress, UnixAddress
from postfix_mta_sts.config.settings import ListenerSettings, MapSettings, Settings
from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.postfix.installed.values import (
    Instance,
    Reach,
    Service,
    Standpoint,
    TableSeen,
)
from postfix_mta_sts.postfix.policy_maps import Server, members, server_of, split_tables
from postfix_mta_sts.postfix.smtp_client.values import MainCf
from postfix_mta_sts.values import replace

PARAMETER: Final = "smtp_tls_policy_maps"
HELD: Final = "Each look-up fails, so that Postfix holds all mail that it sends by SMTP"
"""What comes of a table that fails."""
DENIALS: Final = frozenset({"EACCES", "EPERM"})
PACKAGED: Final = frozenset({"cdb", "ldap", "lmdb", "mongodb", "mysql", "pcre", "pgsql", "sqlite"})
"""Types of tables that Debian has in packages of their own, such as postfix-pcre."""
_TYPES: Final = PACKAGED | {
    *("btree", "dbm", "hash", "sdbm", "nis", "nisplus", "netinfo"),
    *("cidr", "inline", "regexp", "static", "texthash"),
    *("debug", "environ", "fail", "internal", "memcache", "unix"),
    *("pipemap", "proxy", "randmap", "socketmap", "tcp", "unionmap"),
}
"""Types that some Postfix has, old or new (DATABASE_README, and dict_open.c of its sources)."""

_NAME_LIMIT: Final = 10_000
"""Characters; a table of type inline has its entries in its name."""
_ASK_SERVERS: Final = frozenset({"socketmap", "tcp"})
_BY_SERVICE_NAME: Final = re.compile(
    r"(?:socketmap:inet:[^:]*:[A-Za-z][\w-]*:[^:]*[^:\d][^:]*|tcp:[^:]*:[A-Za-z][\w-]*)"
)
"""Postfix takes a name of services(5) for a port; `policy_maps.server_of` does not."""
_EVERY: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 (compared, not opened)
_LOCAL: Final = _EVERY | {"127.0.0.1", "::1", "localhost"}


def tables_of(instance: Instance, text: str) -> tuple[TableSeen, ...]:
    """The tables of a value of smtp_tls_policy_maps, named as written there."""
    seen = {each.name: each for each in instance.tables}
    return tuple(
        replace(seen.get(known_as(each)) or TableSeen(each, server_of(each, MainCf())), name=each)
        for each in split_tables(text)
    )


def are_seen(instance: Instance) -> bool:
    """Whether the tables of main.cf were looked at."""
    seen = {each.name for each in instance.tables}
    return all(known_as(each.name) in seen for each in of_main_cf(instance))


def known_as(name: str) -> str:
    """The name of a table in `Instance.tables`: printable, and not cut."""
    return printable(name, _NAME_LIMIT)


def of_main_cf(instance: Instance) -> tuple[TableSeen, ...]:
    """The tables in main.cf."""
    return tables_of(instance, instance.parameters.get(PARAMETER, ""))


def type_of(table: TableSeen) -> str:
    """The type of a table, such as `hash`, also of one that proxymap(8) reads."""
    return bare(table).partition(":")[0]


def bare(table: TableSeen) -> str:
    """The table without `proxy:`."""
    return table.name.removeprefix("proxy:")


def is_malformed(table: TableSeen) -> bool:
    """Whether it is not of the form `type:name`, or names no server although its type asks one."""
    if ":" not in table.name:
        return "$" not in table.name  # with --main-cf, a reference that is not known
    asks = type_of(table) in _ASK_SERVERS and table.server is None
    return asks and (bool(table.error) or not _BY_SERVICE_NAME.fullmatch(bare(table)))


def is_of_unknown_type(table: TableSeen, instance: Instance) -> bool:
    """Whether this Postfix has no tables of its type, or no Postfix if its types are not known."""
    kind, types = type_of(table), instance.table_types
    if ":" not in table.name or (not types and "$" in kind):  # see `is_malformed`
        return False
    return kind not in (types or _TYPES)


def failure(table: TableSeen) -> Reach | None:
    """How smtp(8) fails to ask the server of a table; None: it does not, or it was not tried.

    What a user other than Postfix may not do says nothing.
    """

    def counts(reach: Reach) -> bool:
        is_own = reach.standpoint is Standpoint.SELF and reach.error in DENIALS
        return bool(reach.error) and not is_own

    return next(filter(counts, table.reaches), None)


def is_dead(table: TableSeen, instance: Instance) -> bool:
    """Whether no look-up in it can succeed, and no package could help: it should not be there."""
    if is_of_unknown_type(table, instance):
        return type_of(table) not in PACKAGED
    return is_malformed(table) or failure(table) is not None


def is_own(table: TableSeen, snapshot: Snapshot) -> bool:
    """Whether it asks the daemon.

    With `--main-cf` the names of hosts are those of another machine: there a table is the daemon's
    if the port is, and each UNIX socket may be the daemon's.
    """
    if table.is_ours or not snapshot.main_cf_file or table.server is None:
        return table.is_ours
    address, listeners = table.server.address, settings_of(snapshot).listen
    ports = {each.address.port for each in listeners if isinstance(each.address, TcpAddress)}
    return isinstance(address, UnixAddress) or address.port in ports


def leads_here(table: TableSeen, instance: Instance, snapshot: Snapshot) -> bool:
    """Whether it asks the daemon, or fails and is taken for a table that should."""
    return is_own(table, snapshot) or is_dead(table, instance)


def settings_of(snapshot: Snapshot) -> Settings:
    """The settings of the daemon, or the defaults if they are not valid."""
    return snapshot.settings or Settings()


def is_at(server: Server, listener: ListenerSettings) -> bool:
    """Whether a server has the address of a listener, by its text; protocols are not compared."""
    ours, theirs = listener.address, server.address
    if isinstance(ours, UnixAddress) or isinstance(theirs, UnixAddress):
        return ours == theirs
    are_same = ours.host == theirs.host or {ours.host, theirs.host} <= _LOCAL
    return ours.port == theirs.port and (are_same or ours.host in _EVERY)


def asked_map(server: Server, settings: Settings) -> MapSettings:
    """The reply format that a table asks for; the protocol of tcp_table has no map names."""
    if server.wire == "socketmap":
        return settings.maps.get(server.map_name, MapSettings())
    here = (each for each in settings.listen if each.wire == server.wire and is_at(server, each))
    return MapSettings(tlsrpt=any(bool(each.tlsrpt) for each in here))


def is_chrooted(instance: Instance) -> bool:
    """Whether a service that runs smtp(8) is in a chroot."""
    return any(each.is_chrooted for each in smtp_services(instance))


def is_group(table: TableSeen) -> bool:
    """Whether it is made of other tables (pipemap, unionmap)."""
    return members(table.name) != (table.name,)


def asks_nothing_here(instance: Instance, snapshot: Snapshot) -> bool:
    """Whether neither main.cf nor a service has a table that asks the daemon, or that should."""
    services = (asks_here(each, instance, snapshot) for each in smtp_services(instance))
    in_main_cf = (leads_here(each, instance, snapshot) for each in of_main_cf(instance))
    return not any((*services, *in_main_cf))


def asks_here(service: Service, instance: Instance, snapshot: Snapshot) -> bool:
    """Whether a service has such a table."""
    tables = tables_of(instance, service.main_cf.smtp_tls_policy_maps)
    return any(leads_here(each, instance, snapshot) for each in tables)


def each_table(snapshot: Snapshot) -> Iterator[tuple[Instance, TableSeen]]:
    """The tables of all instances, also those that only services have."""
    for instance in snapshot.instances:
        for table in instance.tables:
            yield instance, table


def described(table: TableSeen) -> str:
    """What answers a table that has a server, for people."""
    server = table.server
    if server and server.wire == "socketmap":
        return f"the map {printable(server.map_name)}"
    return f"the listener of {printable(table.name)}"
