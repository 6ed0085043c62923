"""Asks the server of a table of type socketmap or tcp, as each smtp(8) would that has the table."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from postfix_mta_sts.config.address import UnixAddress
from postfix_mta_sts.config.settings import ListenerSettings
from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.permissions import Account, obstacle
from postfix_mta_sts.postfix.installed.asking import View, ask_inside, views_of
from postfix_mta_sts.postfix.installed.outcome import NotAskedError
from postfix_mta_sts.postfix.installed.sleeping import REASON, Sleeping, sleeps
from postfix_mta_sts.postfix.installed.values import Instance, Reach, TableSeen
from postfix_mta_sts.postfix.maps import served_name
from postfix_mta_sts.postfix.own_addresses import Addresses, Resolve
from postfix_mta_sts.postfix.policy_maps import (
    PROXY,
    OwnMap,
    Server,
    find_own_maps,
    members,
    server_of,
)
from postfix_mta_sts.postfix.programs import all_ended
from postfix_mta_sts.postfix.smtp_client.values import MainCf
from postfix_mta_sts.values import replace

DENIED: Final = frozenset({"EACCES", "EPERM"})
"""Errors that say nothing about Postfix if they happen to another user."""
RESOLVE_TIMEOUT: Final = 1.0
"""Seconds for the addresses of one host name; all are looked up at once."""


def main_cf_of(instance: Instance, *, chrooted: bool) -> MainCf:
    """The parameters of a service that is chrooted, or is not."""
    of_any = instance.services[0].main_cf if instance.services else MainCf()
    queue_directory = instance.queue_directory
    return replace(of_any, queue_directory=queue_directory, smtp_is_chrooted=chrooted)


@dataclass(frozen=True, slots=True)
class Servers:
    """The servers of the tables of one instance."""

    instance: Instance
    account: Account | None
    """The user of Postfix; None: this process asks as it is."""
    own: Mapping[bool, Mapping[str, OwnMap]]
    """The tables that lead to the daemon, from outside (False) and inside (True) of the chroot."""
    sleeping: Sleeping = ()
    """The addresses of servers that a question would start."""

    @classmethod
    async def find(
        cls,
        instance: Instance,
        account: Account | None,
        tables: Sequence[str],
        listeners: Sequence[ListenerSettings],
        *,
        resolve: Resolve,
        interfaces: Callable[[], Addresses],
        sleeping: Sleeping = (),
    ) -> "Servers":
        """Find out which of the tables lead to these listeners."""
        own: dict[bool, Mapping[str, OwnMap]] = {}
        once = _once(resolve)
        for chrooted in (False, True):
            main_cf = main_cf_of(instance, chrooted=chrooted)
            own[chrooted] = await find_own_maps(
                tables, listeners, main_cf, resolve=once, interfaces=interfaces
            )
        return cls(instance, account, own, sleeping)

    def asked(self, table: str) -> str | None:
        """The table that has a server: this one, or of a group the daemon's, else the first."""
        all_ = [each for each in members(table) if self._server(each, chrooted=False)]
        own = [each for each in all_ if each in self.own[False] or each in self.own[True]]
        return next(iter([*own, *all_]), None)

    async def see(self, table: str, *, in_chroot: bool, outside: bool) -> TableSeen:
        """What the server of a table answers, from where the services are that ask it."""
        chrooted = in_chroot and not table.startswith(PROXY)  # proxymap(8) is not
        own = self.own[chrooted].get(table) or self.own[False].get(table)
        is_asleep = self._sleeps(table, chrooted=chrooted)
        results = [REASON] if is_asleep else await self._ask(table, chrooted=chrooted)
        return TableSeen(
            "",
            server=self._server(table, chrooted=chrooted),
            is_ours=own is not None,
            map_name=served_name(own.listener, own.map_name) if own else None,
            reaches=self._that_count(table, results, only_inside=chrooted and not outside),
            unasked=tuple(each for each in results if isinstance(each, str)),
        )

    def _server(self, table: str, *, chrooted: bool) -> Server | None:
        return server_of(table, main_cf_of(self.instance, chrooted=chrooted))

    def _sleeps(self, table: str, *, chrooted: bool) -> bool:
        """Whether asking the table from one of the places would start its server."""
        both = (self._server(table, chrooted=each) for each in {False, chrooted})
        return any(each and sleeps(each.address, self.sleeping) for each in both)

    def _that_count(
        self, table: str, results: Sequence[Reach | str], *, only_inside: bool
    ) -> tuple[Reach, ...]:
        """The results, but of the place outside only if it tells more about the one inside."""
        first, reaches = results[0], tuple(each for each in results if isinstance(each, Reach))
        if not only_inside:
            return reaches
        if isinstance(first, Reach):
            return reaches if first.error else (first,)
        is_same = self._server(table, chrooted=True) == self._server(table, chrooted=False)
        return reaches if is_same else ()

    async def _ask(self, table: str, *, chrooted: bool) -> list[Reach | str]:
        """What came of asking from each place, or why it was not asked from there."""
        tasks: list[asyncio.Task[Reach | str]] = []
        for view in views_of(self.instance.queue_directory, self.account, chrooted=chrooted):
            # A plain user looks at the path that a chrooted smtp(8) would use.
            inside = chrooted if view.account is None else view.is_chrooted
            if server := self._server(table, chrooted=inside):
                tasks.append(asyncio.create_task(_ask(server, view)))
        await all_ended(*tasks)
        return [each.result() for each in tasks]


def _once(resolve: Resolve) -> Resolve:
    """Look each host up once, within `RESOLVE_TIMEOUT`: name servers may hang."""
    known: dict[str, Addresses] = {}

    async def find(host: str) -> Addresses:
        if host not in known:
            known[host] = ()
            with suppress(TimeoutError):
                async with asyncio.timeout(RESOLVE_TIMEOUT):
                    known[host] = await resolve(host)
        return known[host]

    return find


async def _ask(server: Server, view: View) -> Reach | str:
    """What a server answers, or why it was not asked."""
    try:
        reach = await ask_inside(server, view)
    except NotAskedError as error:
        return f"{view.standpoint}: {error}"
    if view.account is None and reach.error in DENIED:
        return f"this user may not connect to {printable(str(server.address))}"
    if reach.error == "EACCES" and view.account and isinstance(server.address, UnixAddress):
        return replace(reach, obstacle=_obstacle(server.address.path, view, view.account))
    return reach


def _obstacle(path: Path, view: View, account: Account) -> str:
    """The folder or socket that denies it to Postfix; empty: not found."""
    queue = Path(view.queue_directory)
    start = queue if path.is_relative_to(queue) else None
    with suppress(OSError):
        return str(obstacle(path, account, start=start) or "")
    return ""
