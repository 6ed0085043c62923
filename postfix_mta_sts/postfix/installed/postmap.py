"""Asks tables by the postmap(1) of one instance of Postfix.

smtp(8) and trivial-rewrite(8) open their tables while they still are root, so root may ask them.
proxymap(8), which opens those with `proxy:` for others, is the user of Postfix.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from postfix_mta_sts.permissions import Account
from postfix_mta_sts.postfix.installed.values import Instance
from postfix_mta_sts.postfix.policy_maps import PROXY, Table, look_up, members

TIMEOUT: Final = 2.0
"""Seconds for the answer of one table."""

LISTED: Final = frozenset({"btree", "cdb", "dbm", "hash", "lmdb", "sdbm", "texthash"})
"""Types that hold entries in a file, and may list them (DATABASE_README)."""
_IN_FILES: Final = LISTED | {
    "cidr",
    "ldap",
    "memcache",
    "mongodb",
    "mysql",
    "pcre",
    "pgsql",
    "regexp",
    "sqlite",
}


def unused_domain() -> str:
    """A domain that nobody has (RFC 6761 §6.4), so that only an entry for all domains fits."""
    return f"doctor-{secrets.token_hex(8)}.invalid"


def file_of(table: str) -> str:
    """The file of entries or of settings of a table; empty: none, or not an absolute path."""
    kind, _, name = table.removeprefix(PROXY).partition(":")
    return name if kind in _IN_FILES and name.startswith("/") else ""


def is_proxied(table: str) -> bool:
    """Whether proxymap(8) opens the table, or a part of it."""
    return any(each.startswith(PROXY) for each in (table, *members(table)))


@dataclass(frozen=True, slots=True)
class Postmap:
    """The program of one instance."""

    command: Sequence[str]
    queue_directory: str
    account: Account | None
    """The user of Postfix; None: this process is not root, and asks as it is."""

    @classmethod
    def of(
        cls, instance: Instance, account: Account | None, program: Sequence[str] = ("postmap",)
    ) -> "Postmap":
        """The program, called for the main.cf of the instance."""
        folder = instance.config_directory
        command = (*program, "-c", folder) if folder else tuple(program)
        return cls(command, instance.queue_directory, account)

    async def look_up(self, table: str, keys: Sequence[str]) -> Table:
        """What the table has for the first of the keys that it knows, within `TIMEOUT`."""
        return await look_up(
            table,
            keys,
            self.queue_directory,
            command=self.command,
            account=self.account if is_proxied(table) else None,
            seconds=TIMEOUT,
        )

    def why_not(self, table: str, error: str = "") -> str:
        """Why an error of the table says nothing about Postfix; empty: it does."""
        if self.account is not None:
            return ""
        if is_proxied(table):
            return "this user may not ask proxymap(8)"
        return error if "Permission denied" in error else ""
