"""The daemon's store for a command that writes to it, while the daemon runs or not.

Border: where the store is, and as whose user it is written; what is written is the command's.
"""

import os
import pwd
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from postfix_mta_sts.cli.parser import CommandError
from postfix_mta_sts.config.settings import Settings, default_cache_path
from postfix_mta_sts.store import StoreError
from postfix_mta_sts.store.sqlite.store import SqliteStore

SERVICE_STATE: Final = Path("/var/lib/postfix-mta-sts")
"""Where the service keeps its state (`StateDirectory=` of the unit)."""


def store_path(
    settings: Settings, environ: Mapping[str, str], service: Path = SERVICE_STATE
) -> Path:
    """Where the daemon keeps its policies; `service` is taken where there is such a folder."""
    if settings.cache.path:
        return settings.cache.path
    default = default_cache_path(environ)
    return (
        default if "STATE_DIRECTORY" in environ or not service.exists() else service / default.name
    )


def become_owner_of(folder: Path) -> None:
    """Let root go on as the user to whom `folder` belongs; who is not root stays who they are.

    A file that root made in it would be out of the daemon's reach. Raises `CommandError` where
    there is no such folder: it would be made for root.
    """
    if os.geteuid() != 0:
        return
    try:
        owner = folder.stat()
    except OSError as error:
        advice = f"start the daemon once, or: install -d -m 0700 -o USER {folder}"
        raise CommandError(f"{folder}: {error.strerror}; {advice}") from error
    if owner.st_uid != 0:
        group, groups = _groups(owner)
        os.setgroups(groups)
        os.setresgid(group, group, group)
        os.setresuid(owner.st_uid, owner.st_uid, owner.st_uid)


def _groups(owner: os.stat_result) -> tuple[int, list[int]]:
    """The group and all groups of the user who owns a file."""
    try:
        user = pwd.getpwuid(owner.st_uid)
    except KeyError:  # a user of another system, a container's say
        return owner.st_gid, []
    return user.pw_gid, os.getgrouplist(user.pw_name, user.pw_gid)


@asynccontextmanager
async def opened_store(path: Path) -> AsyncIterator[SqliteStore]:
    """The store at `path`; what it raises, here or within, becomes a `CommandError`."""
    try:
        store = await SqliteStore.open(path)
        try:
            yield store
        finally:
            await store.close()
    except StoreError as error:
        denied = isinstance(error.__cause__, PermissionError | sqlite3.OperationalError)
        advice = "; run it as root, or as the daemon's user" if denied and os.geteuid() else ""
        raise CommandError(f"{error}{advice}") from error
