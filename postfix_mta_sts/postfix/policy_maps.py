"""The tables of `smtp_tls_policy_maps`: which of them is this daemon, and what the others say.

smtp(8) asks for one key after the other, and for each key one table after the other, until a table
has an entry or fails. `read_tables` asks the other tables by `postmap`. It never asks the daemon,
whose answer comes from its control socket.
"""

import asyncio
import contextlib
import ipaddress
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from postfix_mta_sts.config.address import TcpAddress, UnixAddress
from postfix_mta_sts.config.settings import ListenerSettings
from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.permissions import Account
from postfix_mta_sts.postfix.own_addresses import (
    Addresses,
    Resolve,
    addresses_of,
    interface_addresses,
)
from postfix_mta_sts.postfix.programs import TIMEOUT, Output, ProgramError, all_ended, run
from postfix_mta_sts.postfix.smtp_client.values import MainCf
from postfix_mta_sts.values import Value

TABLES_LIMIT: Final = 20
"""Tables that are asked; each is a process."""
KEYS_LIMIT: Final = 130
"""Keys of the longest name, one for each label (RFC 1035 §3.1)."""
PROXY: Final = "proxy:"
"""Before the type of a table that proxymap(8) opens for others."""

_ENTRY_LIMIT: Final = 100_000  # bytes of a reply of socketmap_table(5), the longest there is
_NESTING_LIMIT: Final = 8
_SEPARATORS: Final = ", \t\r\n"

# smtp(8) takes a service name for a port too; those of this daemon have none in services(5).
_INET = re.compile(r"(?:(?:\[([^\]]*)\]|([^\[\]:]*)):)?0*([0-9]{1,5})")
_GROUP = re.compile(r"(?:proxy:)?(pipemap|unionmap):\{(.*)\}", re.DOTALL)
_FAILURE = re.compile(r"(?:[^:\s]+: )?(?:fatal|error|panic): (.*)")


class Table(Value, frozen=True):
    """One table of smtp_tls_policy_maps, and what it has for the keys of the domain."""

    name: str
    """As written in main.cf, such as `socketmap:inet:127.0.0.1:8461:postfix`."""
    is_ours: bool
    """Whether it is a listener of this daemon."""
    found: str | None = None
    """The entry; None: it has none, or was not asked."""
    key: str | None = None
    """The key that was found, the domain or a parent domain with a dot before it; or the key for
    which the table gave an error."""
    error: str = ""


@dataclass(frozen=True, slots=True)
class OwnMap:
    """The listener of this daemon that a table leads to."""

    listener: ListenerSettings
    map_name: str = ""
    """The map name of socketmap; tcp_table has none."""


@dataclass(frozen=True, slots=True)
class Server:
    """The server that a table of type socketmap or tcp asks."""

    wire: str
    address: TcpAddress | UnixAddress
    map_name: str = ""


Checked: TypeAlias = tuple[Table, OwnMap | None]


async def read_tables(
    main_cf: MainCf,
    listeners: Sequence[ListenerSettings],
    keys: Sequence[str],
    *,
    command: Sequence[str] = ("postmap",),
    resolve: Resolve = addresses_of,
    interfaces: Callable[[], Addresses] = interface_addresses,
) -> tuple[Checked, ...]:
    """Each table in the order of main.cf, and for a listener of this daemon which one.

    A table of the daemon is not asked. `keys` are in the order in which smtp(8) asks for them.
    """
    names = split_tables(main_cf.smtp_tls_policy_maps)[:TABLES_LIMIT]
    own = await find_own_maps(names, listeners, main_cf, resolve=resolve, interfaces=interfaces)
    asked = (_read_table(each, own, main_cf, keys, command) for each in names)
    tasks = [asyncio.create_task(each) for each in asked]
    if tasks:
        await all_ended(*tasks)
    return tuple(task.result() for task in tasks)


def first_answer(tables: Sequence[Table], keys: Sequence[str]) -> Table | None:
    """The table whose entry, or whose error, decides; None: none of them has an entry.

    The caller has put the daemon's answer into its table.
    """
    answers = [each for each in tables if each.error or each.found is not None]
    order = {key: position for position, key in enumerate(keys)}
    return min(answers, key=lambda each: order.get(each.key or "", 0), default=None)


def split_tables(text: str) -> tuple[str, ...]:
    """The tables `type:name` of a parameter, divided by commas and space outside of braces."""
    return split_words(text, _SEPARATORS)


def split_words(text: str, separators: str = " \t") -> tuple[str, ...]:
    """The words of a text, divided by these characters outside of braces.

    A brace without its partner takes everything up to the end, as in Postfix.
    """
    words: list[str] = []
    depth, start = 0, None
    for position, character in enumerate(text):
        if depth == 0 and character in separators:
            if start is not None:
                words.append(text[start:position])
            start = None
            continue
        start = position if start is None else start
        depth = max(0, depth + {"{": 1, "}": -1}.get(character, 0))
    return tuple(words if start is None else [*words, text[start:]])


def members(table: str, depth: int = _NESTING_LIMIT) -> tuple[str, ...]:
    """The table itself, or the tables that a pipemap or unionmap (DATABASE_README) is made of.

    proxymap(8) opens a group with `proxy:` and its members, which have `proxy:` here, too.
    """
    match = _GROUP.fullmatch(table)
    if match is None or depth == 0:
        return (table,)
    return tuple(name for each in _parts(table) for name in members(each, depth - 1))


def is_piped(table: str, member: str) -> bool:
    """Whether a pipemap in the table has this member, and others before or after it."""
    match = _GROUP.fullmatch(table)
    if match is None or member not in members(table):
        return False
    parts = _parts(table)
    is_pipe = match[1] == "pipemap" and len(parts) > 1
    return is_pipe or any(is_piped(each, member) for each in parts)


def _parts(table: str) -> tuple[str, ...]:
    """The tables of a group, not taken apart themselves; none of another table."""
    match = _GROUP.fullmatch(table)
    found = split_tables(match[2]) if match else ()
    by = PROXY if table.startswith(PROXY) else ""
    return tuple(f"{by}{each.removeprefix(by)}" for each in found)


def server_of(table: str, main_cf: MainCf) -> Server | None:
    """The server of a socketmap_table(5) or tcp_table(5); None: the table is another one.

    `proxy:` has proxymap(8) ask, which is not chrooted; smtp(8) may be.
    """
    bare = table.removeprefix(PROXY)
    chrooted = main_cf.smtp_is_chrooted and bare == table
    kind, _, rest = bare.partition(":")
    if kind == "tcp":
        tcp = _inet(rest)
        return Server("tcp_table", tcp) if tcp else None
    where, _, map_name = rest.rpartition(":")
    if kind != "socketmap" or not map_name:
        return None
    address: TcpAddress | UnixAddress | None = None
    if where.startswith("inet:"):
        address = _inet(where.removeprefix("inet:"))
    elif where.startswith(("unix:", "local:")):
        path = where.partition(":")[2]
        inside = path.lstrip("/") if chrooted else path
        address = UnixAddress(Path(main_cf.queue_directory, inside))
    return Server("socketmap", address, map_name) if address else None


async def find_own_maps(
    tables: Sequence[str],
    listeners: Sequence[ListenerSettings],
    main_cf: MainCf,
    *,
    resolve: Resolve = addresses_of,
    interfaces: Callable[[], Addresses] = interface_addresses,
) -> dict[str, OwnMap]:
    """Table → listener, for the tables, and the members of groups, that lead to this daemon."""
    names = {name for each in tables for name in members(each)}
    servers = {name: server for name in names if (server := server_of(name, main_cf))}
    every = [*(each.address for each in servers.values()), *(each.address for each in listeners)]
    hosts = sorted({each.host for each in every if isinstance(each, TcpAddress)})
    addresses = dict(zip(hosts, await _resolve(hosts, resolve), strict=True))
    addresses |= dict.fromkeys(("0.0.0.0", "::"), interfaces())  # noqa: S104 (not opened here)
    return {
        name: OwnMap(listener, server.map_name)
        for name, server in servers.items()
        if (listener := _listener(server, listeners, addresses))
    }


async def look_up(
    table: str,
    keys: Sequence[str],
    queue_directory: str,
    *,
    command: Sequence[str] = ("postmap",),
    account: Account | None = None,
    seconds: float = TIMEOUT,
) -> Table:
    """What a table that is not the daemon's has for the first of the keys that it knows.

    Takes `seconds` for all keys at most. An `account` is the user that asks; None: this one.
    """
    shown = printable(table)
    at = keys[0] if keys else None
    if ":" not in table:
        return Table(shown, is_ours=False, key=at, error="not of the form type:name")
    try:
        async with asyncio.timeout(seconds):
            for key in keys[:KEYS_LIMIT]:
                at = key
                # A relative path of a socket begins at the working directory of smtp(8).
                words, folder = [*command, "-q", key, table], Path(queue_directory)
                output = await run(words, folder=folder, account=account)
                if (answer := _answer(output)) is not None:
                    found, error = answer
                    return Table(shown, is_ours=False, found=found, key=key, error=error)
    except (ProgramError, TimeoutError) as problem:
        error = str(problem) or f"no answer within {seconds:g} s"
        return Table(shown, is_ours=False, key=at, error=printable(error))
    return Table(shown, is_ours=False)


async def _read_table(
    name: str,
    own: dict[str, OwnMap],
    main_cf: MainCf,
    keys: Sequence[str],
    command: Sequence[str],
) -> Checked:
    match members(name):
        case (alone,) if alone in own:
            return Table(printable(name), is_ours=True), own[alone]
    if not own.keys().isdisjoint(members(name)):
        error = "not asked, because it would ask the daemon"
        return Table(printable(name), is_ours=False, key=next(iter(keys), None), error=error), None
    return await look_up(name, keys, main_cf.queue_directory, command=command), None


def _answer(output: Output) -> tuple[str | None, str] | None:
    """Entry and error of one run of postmap(1); None: there is no entry.

    postmap exits with 1 in both of the latter cases, and prints warnings of its own in all.
    """
    if output.code == 0:
        # Postfix divides an entry at any space, and printable() would escape the ends of lines.
        entry = printable(" ".join(output.text.split()), _ENTRY_LIMIT)
        return (entry, "") if entry else (None, "the entry is empty")
    failures = [m[1] for line in output.errors.splitlines() if (m := _FAILURE.fullmatch(line))]
    if failures or output.code != 1:
        return None, printable(failures[-1] if failures else f"postmap: exit code {output.code}")
    return None


def _inet(text: str) -> TcpAddress | None:
    """`host:port`, `[v6]:port` or `port`, with the defaults of Postfix's inet_connect()."""
    match = _INET.fullmatch(text)
    if match is None:
        return None
    host = match[1] or match[2] or "localhost"
    with contextlib.suppress(ValueError):
        host = str(ipaddress.ip_address(host))
    return TcpAddress(host.lower(), int(match[3]))


async def _resolve(hosts: Sequence[str], resolve: Resolve) -> list[Addresses]:
    """The addresses of each host; none of a host whose look-up takes too long."""

    async def find(host: str) -> Addresses:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TIMEOUT):
                return await resolve(host)
        return ()

    return await asyncio.gather(*map(find, hosts))


def _listener(
    server: Server, listeners: Sequence[ListenerSettings], addresses: dict[str, Addresses]
) -> ListenerSettings | None:
    """The listener at the address of a server, if it speaks the same protocol."""

    def leads_to(listener: ListenerSettings) -> bool:
        ours, theirs = listener.address, server.address
        if isinstance(ours, UnixAddress) or isinstance(theirs, UnixAddress):
            return _path(ours) == _path(theirs)
        shared = {*addresses[ours.host]} & {*addresses[theirs.host]}
        return ours.port == theirs.port and bool(shared)

    same = (each for each in listeners if each.wire == server.wire and leads_to(each))
    return next(same, None)


def _path(address: TcpAddress | UnixAddress) -> str:
    """The path of a socket without symbolic links, such as /var/run; unlike any TCP address."""
    if isinstance(address, TcpAddress):
        return str(address)
    return os.path.realpath(address.path)
