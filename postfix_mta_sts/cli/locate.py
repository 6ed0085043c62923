"""Find the running daemon and its store, for commands that use one of them.

A command may run with another user and environment than the daemon, so the paths fall back to
those of the systemd service. What a command asks or writes is up to its own module.
"""

import argparse
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from postfix_mta_sts.admin.client import CLIENT_TIMEOUT, ControlClient
from postfix_mta_sts.cli.parser import CommandError, config_path, load_settings
from postfix_mta_sts.config import partial
from postfix_mta_sts.config.settings import (
    ConfigError,
    Settings,
    default_cache_path,
    default_control_path,
    read,
)

if TYPE_CHECKING:
    from postfix_mta_sts.store import Store

SERVICE_STATE: Final = Path("/var/lib/postfix-mta-sts")
"""State folder of the systemd service (`StateDirectory=` of the unit)."""
SERVICE_SOCKET: Final = Path("/run/postfix-mta-sts/control.sock")
"""Control socket of the systemd service (`RuntimeDirectory=` of the unit)."""


def control_client(args: argparse.Namespace, timeout: float = CLIENT_TIMEOUT) -> ControlClient:
    """Return a client of the daemon that the arguments and the environment name.

    After a reload that failed, the daemon still runs: errors of other settings are a warning on
    standard error. Raises `ConfigError` if it is not known where the control socket is.
    """
    return ControlClient(control_path(_valid_settings(args), os.environ), timeout)


def _valid_settings(args: argparse.Namespace) -> Settings:
    try:
        return load_settings(args)
    except ConfigError as error:
        path = config_path(args)
        valid = partial.parse(read(path) if path else "", os.environ)
        if valid is None or not valid.has("control.path"):
            raise
        print(f"postfix-mta-sts: warning: {error}", file=sys.stderr)
        return valid.settings


def control_path(
    settings: Settings, environ: Mapping[str, str], service: Path = SERVICE_SOCKET
) -> Path:
    """Return the path of the control socket: configured, else default, else the service's.

    The service's socket is used only if it exists and the default does not.
    """
    if settings.control.path:
        return settings.control.path
    default = default_control_path(environ)
    return service if service.exists() and not default.exists() else default


def store_path(
    settings: Settings, environ: Mapping[str, str], service: Path = SERVICE_STATE
) -> Path:
    """Return the path of the daemon's store: configured, else the service's, else the default.

    The service's folder is used only if it exists and $STATE_DIRECTORY is not set.
    """
    if settings.cache.path:
        return settings.cache.path
    default = default_cache_path(environ)
    if "STATE_DIRECTORY" in environ or not service.exists():
        return default
    return service / default.name


def become_owner_of(folder: Path) -> None:
    """Let a process of root continue as the owner of `folder`; other users stay as they are.

    The daemon could not write a file that root created. Raises `CommandError` if the folder does
    not exist: it would be created for root.
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
    """Return the primary group and all groups of a file's owner."""
    import pwd  # noqa: PLC0415 (only for root; `status` need not load it)

    try:
        user = pwd.getpwuid(owner.st_uid)
    except KeyError:  # a user of another system, for example of a container
        return owner.st_gid, []
    return user.pw_gid, os.getgrouplist(user.pw_name, user.pw_gid)


@asynccontextmanager
async def open_store(path: Path) -> AsyncIterator["Store"]:
    """Open the store at `path`; its errors, also within the context, become `CommandError`."""
    # `status` and `policy` import this module too: they need neither SQLite nor asyncio.
    import sqlite3  # noqa: PLC0415

    from postfix_mta_sts.store import StoreError  # noqa: PLC0415
    from postfix_mta_sts.store.sqlite.store import SqliteStore  # noqa: PLC0415

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
