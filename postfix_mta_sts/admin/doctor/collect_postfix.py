"""What there is of Postfix: each instance of this machine, or what a main.cf of another one says.

Nothing is raised: what could not be seen is noted. If the tables are late, it is still said which
of them lead to the daemon: without that it would seem as if Postfix did not ask it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from postfix_mta_sts.admin.diagnosis.unjoined import in_thread
from postfix_mta_sts.admin.doctor.given import Given
from postfix_mta_sts.admin.doctor.sight import Sight
from postfix_mta_sts.config.settings import ListenerSettings
from postfix_mta_sts.permissions import Account
from postfix_mta_sts.postfix.installed.asking import account_of
from postfix_mta_sts.postfix.installed.elsewhere import instance_of
from postfix_mta_sts.postfix.installed.instances import read_instances
from postfix_mta_sts.postfix.installed.parameters import NAMES
from postfix_mta_sts.postfix.installed.reading import read_instance
from postfix_mta_sts.postfix.installed.sleeping import REASON, Sleeping
from postfix_mta_sts.postfix.installed.tables import read_tables_of
from postfix_mta_sts.postfix.installed.tlsrpt import reach_tlsrpt
from postfix_mta_sts.postfix.installed.transports import read_catch_all
from postfix_mta_sts.postfix.installed.unasked import unasked_tables
from postfix_mta_sts.postfix.installed.values import Instance, TableSeen
from postfix_mta_sts.values import replace

_AS_POSTFIX: Final = "what Postfix is answered as its own user, and in its chroot"
_ELSEWHERE: Final = "with --main-cf it is taken to run on another machine"
_THERE: Final = "run doctor there, as root"


async def look_at_postfix(
    sight: Sight, given: Given, sleeping: Callable[[], Awaitable[Sleeping]]
) -> tuple[Instance, ...]:
    """Look at all instances at once; servers at the addresses of `sleeping` are not asked."""
    listeners = given.settings.listen
    if given.main_cf_file:
        return (await _elsewhere(sight, given),)
    found = await sight.look("the instances of Postfix", read_instances, None)
    if found == ():
        sight.miss("Postfix", "postconf was not found", "name a main.cf with --main-cf")
    looks = (_look(sight, *each, listeners, sleeping) for each in found or ())
    seen = await asyncio.gather(*looks)
    return tuple(each for each in seen if each)


async def _look(
    sight: Sight,
    name: str,
    directory: str,
    listeners: tuple[ListenerSettings, ...],
    sleeping: Callable[[], Awaitable[Sleeping]],
) -> Instance | None:
    """One instance, with what it can reach; None: it was not seen."""
    read = partial(read_instance, name, directory)
    instance = await sight.look(f"Postfix in {directory}", read, None)
    if instance is None or instance.problem:
        return instance
    account = await _account(sight, instance)
    plain = await unasked_tables(instance, listeners)
    tables, tlsrpt, catch_all = await asyncio.gather(
        sight.look(
            "the tables of smtp_tls_policy_maps",
            partial(read_tables_of, instance, listeners, account, sleeping=await sleeping()),
            plain,
        ),
        sight.look("the socket for TLS reports", partial(reach_tlsrpt, instance, account), None),
        sight.look("transport_maps", partial(read_catch_all, instance, account), None),
    )
    _note(sight, tables)
    return replace(instance, tables=tables, tlsrpt=tlsrpt, catch_all=catch_all)


async def _account(sight: Sight, instance: Instance) -> Account | None:
    """The user of Postfix, if this process may become it."""
    owner = instance.parameters.get("mail_owner", "postfix")
    find = partial(in_thread, partial(account_of, owner))  # it may ask the network
    account = await sight.look(f"the user {owner}", find, None)
    if account is None and sight.is_root:
        if sight.seconds_left:
            sight.miss(_AS_POSTFIX, f"there is no user {owner}")
    elif account is None:
        sight.deny(_AS_POSTFIX, "only root may become another user")
    return account


def _note(sight: Sight, tables: tuple[TableSeen, ...]) -> None:
    """Note which servers were not asked."""
    for table in tables:
        for reason in table.unasked:
            what = f"what {table.name} answers"
            if reason == REASON:
                sight.miss(what, reason, "start the daemon to see it")
            else:
                sight.deny(what, reason)


async def _elsewhere(sight: Sight, given: Given) -> Instance:
    """What the files say of another machine."""
    instance, unseen, missed = instance_of(given.main_cf_text, given.master_cf_text)
    for name, reason in unseen.items():
        if name in NAMES:
            sight.miss(f"{name} in {given.main_cf_file}", reason, "print it with postconf -x")
    for what, reason in missed.items():
        sight.miss(f"{what} in master.cf", reason)
    if given.master_cf_text is None:
        sight.miss("master.cf, with options of services", _ELSEWHERE, _THERE)
    for what in ("what Postfix is answered", "the files and sockets of Postfix"):
        sight.miss(what, _ELSEWHERE, _THERE)
    return replace(instance, tables=await unasked_tables(instance, given.settings.listen))
