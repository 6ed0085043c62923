"""The tables of smtp_tls_policy_maps, none of which was asked: which of them lead to the daemon."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from postfix_mta_sts.config.settings import ListenerSettings
from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.postfix.installed.servers import Servers, main_cf_of
from postfix_mta_sts.postfix.installed.tables import tables_of
from postfix_mta_sts.postfix.installed.values import Instance, TableSeen
from postfix_mta_sts.postfix.maps import served_name
from postfix_mta_sts.postfix.own_addresses import Addresses, interface_addresses, plain
from postfix_mta_sts.postfix.policy_maps import PROXY, TABLES_LIMIT, server_of

_LOOPBACK: Final = {"localhost": ("127.0.0.1", "::1")}
_NAME_LIMIT: Final = 10_000


async def unasked_tables(
    instance: Instance, listeners: Sequence[ListenerSettings]
) -> tuple[TableSeen, ...]:
    """Each table with its server; takes no time, since no host name is looked up."""
    tables = tables_of(instance)
    names = tuple(tables)[:TABLES_LIMIT]
    servers = await Servers.find(
        instance, None, names, listeners, resolve=as_written, interfaces=interface_addresses
    )
    return tuple(_unasked(name, servers, in_chroot=tables[name]) for name in names)


async def as_written(host: str) -> Addresses:
    """The address that a host is written as; none for a name other than localhost."""
    with suppress(ValueError):
        return (plain(host),)
    return _LOOPBACK.get(host, ())


def _unasked(name: str, servers: Servers, *, in_chroot: bool) -> TableSeen:
    shown = printable(name, _NAME_LIMIT)
    asked = servers.asked(name)
    if asked is None:
        return TableSeen(shown)
    chrooted = in_chroot and not asked.startswith(PROXY)  # proxymap(8) is not
    own = servers.own[chrooted].get(asked) or servers.own[False].get(asked)
    return TableSeen(
        shown,
        server=server_of(asked, main_cf_of(servers.instance, chrooted=chrooted)),
        is_ours=own is not None,
        map_name=served_name(own.listener, own.map_name) if own else None,
    )
