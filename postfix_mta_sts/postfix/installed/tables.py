"""The tables of smtp_tls_policy_maps, each once: the server that it asks, or what it answers.

A table without a server is asked for a domain that nobody has: an entry for that would keep Postfix
from asking the tables behind it.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from postfix_mta_sts.config.settings import ListenerSettings
from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.permissions import Account
from postfix_mta_sts.postfix.installed.entries import read_bad_entries
from postfix_mta_sts.postfix.installed.postmap import Postmap, file_of, unused_domain
from postfix_mta_sts.postfix.installed.servers import Servers, main_cf_of
from postfix_mta_sts.postfix.installed.sleeping import Sleeping
from postfix_mta_sts.postfix.installed.values import Instance, TableSeen
from postfix_mta_sts.postfix.own_addresses import Addresses, Resolve, addresses_of
from postfix_mta_sts.postfix.own_addresses import interface_addresses as all_addresses
from postfix_mta_sts.postfix.policy_maps import TABLES_LIMIT, split_tables
from postfix_mta_sts.postfix.programs import all_ended
from postfix_mta_sts.postfix.smtp_client.values import MainCf
from postfix_mta_sts.values import replace

_MAPS: Final = "smtp_tls_policy_maps"
_NAME_LIMIT: Final = 10_000  # characters; a table of type inline has its entries in its name


async def read_tables_of(
    instance: Instance,
    listeners: Sequence[ListenerSettings],
    account: Account | None,
    *,
    postmap: Sequence[str] = ("postmap",),
    resolve: Resolve = addresses_of,
    interfaces: Callable[[], Addresses] = all_addresses,
    sleeping: Sleeping = (),
) -> tuple[TableSeen, ...]:
    """All tables of main.cf and of services, of which `instance` has the parameters.

    `listeners` are those of the daemon. `account` is `asking.account_of(mail_owner)`; without it
    everything is asked as this user. Servers at the addresses `sleeping` are not asked.
    """
    tables = tables_of(instance)
    names = tuple(tables)[:TABLES_LIMIT]
    outside = tables_outside(instance)
    servers = await Servers.find(
        instance,
        account,
        names,
        listeners,
        resolve=resolve,
        interfaces=interfaces,
        sleeping=sleeping,
    )
    program, main_cf = Postmap.of(instance, account, postmap), main_cf_of(instance, chrooted=False)
    tasks: list[asyncio.Task[TableSeen]] = []
    for name in names:
        asked = servers.asked(name)
        seeing = (
            servers.see(asked, in_chroot=tables[name], outside=name in outside)
            if asked
            else read_other(name, main_cf, program)
        )
        tasks.append(asyncio.create_task(seeing))
    if tasks:
        await all_ended(*tasks)
    pairs = zip(names, tasks, strict=True)
    return tuple(replace(task.result(), name=printable(name, _NAME_LIMIT)) for name, task in pairs)


def tables_of(instance: Instance) -> Mapping[str, bool]:
    """Each table, and whether a chrooted service asks it; those of main.cf come first.

    A value that is not known has none.
    """
    known = [each for each in instance.services if _MAPS not in each.unknown]
    lists = [(each.main_cf.smtp_tls_policy_maps, each.is_chrooted) for each in known]
    if _MAPS not in instance.unknown:
        lists.insert(0, (instance.parameters.get(_MAPS, ""), False))
    found: dict[str, bool] = {}
    for text, is_chrooted in lists:
        for table in split_tables(text):
            found[table] = found.get(table, False) or is_chrooted
    return found


def tables_outside(instance: Instance) -> frozenset[str]:
    """The tables that a service asks which is not chrooted."""
    services = (each for each in instance.services if not each.is_chrooted)
    texts = (each.main_cf.smtp_tls_policy_maps for each in services)
    return frozenset(table for text in texts for table in split_tables(text))


async def read_other(table: str, main_cf: MainCf, postmap: Postmap) -> TableSeen:
    """What a table without a server has; its name is left to the caller."""
    seen = TableSeen("", file=printable(file_of(table), _NAME_LIMIT))
    if reason := postmap.why_not(table):
        return replace(seen, unasked=(reason,))
    looking = asyncio.create_task(postmap.look_up(table, (unused_domain(),)))
    reading = asyncio.create_task(read_bad_entries(table, main_cf, postmap))
    await all_ended(looking, reading)
    found = looking.result()
    if reason := postmap.why_not(table, found.error):
        return replace(seen, unasked=(reason,))
    return replace(seen, answer=found.found, error=found.error, bad_entries=reading.result())
