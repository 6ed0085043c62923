"""Permissions of UNIX sockets: set them, restore them, and find out whether a user may connect.

`sockets` opens the sockets. The names of users and groups are looked up here, which may block.
"""

import grp
import os
import pwd
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Access(Protocol):
    """The permissions of a UNIX socket; an owner or group of None leaves that of the process."""

    @property
    def mode(self) -> int | None:
        """Permission bits; None: what the umask leaves."""

    @property
    def owner(self) -> str | int | None:
        """User name or id."""

    @property
    def group(self) -> str | int | None:
        """Group name or id."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user with its only group."""

    uid: int
    gid: int


def set_permissions(path: Path, access: Access, umask: int) -> None:
    """Give a socket file its owner, group and mode; raises `OSError` or `LookupError`."""
    if access.owner is not None or access.group is not None:  # the unit forbids chown otherwise
        uid, gid = _uid(access.owner), _gid(access.group)
        try:
            os.chown(path, uid, gid)
        except PermissionError:
            raise PermissionError(_not_given(access, gid)) from None
    path.chmod(0o777 & ~umask if access.mode is None else access.mode)


def _not_given(access: Access, gid: int) -> str:
    """Why chown(2) failed, and what to do."""
    user = f"user {os.geteuid()}"
    if access.owner is not None:
        return f"{user} may not give a file to user {access.owner}; leave owner out"
    if gid in os.getgroups():
        return "chown is forbidden, though the group is one of this user; allow @chown in the unit"
    return f"{user} is not in group {access.group}; add it, or leave group out"


def restore_permissions(path: Path, before: os.stat_result) -> None:
    """Give a file the permissions that it had before, as far as possible."""
    with suppress(OSError):
        now = path.stat()
        if (now.st_uid, now.st_gid) != (before.st_uid, before.st_gid):
            os.chown(path, before.st_uid, before.st_gid)
        path.chmod(stat.S_IMODE(before.st_mode))


def current_umask() -> int:
    """The umask of this process."""
    os.umask(umask := os.umask(0o077))  # it cannot be read without being set
    return umask


def obstacle(path: Path, account: Account, *, start: Path | None = None) -> Path | None:
    """The file that keeps a user from connecting to a socket; None: nothing does.

    A client needs write permission on the socket, and search permission on each folder of its path
    (unix(7), path_resolution(7)). Raises `OSError` for a path that this process cannot examine.
    Folders above `start`, in which the client is already, do not matter.
    """
    for folder in reversed(path.parents):
        is_passed = start is None or folder.is_relative_to(start)
        if is_passed and not may(folder.stat(), account, os.X_OK):
            return folder
    return None if may(path.stat(), account, os.W_OK) else path


def may(status: os.stat_result, account: Account, wanted: int) -> bool:
    """Whether the permission bits of a file give a user this access (`os.R_OK`, W_OK, X_OK)."""
    if account.uid == 0:
        return True
    if status.st_uid == account.uid:
        return bool(status.st_mode >> 6 & wanted)
    if status.st_gid == account.gid:
        return bool(status.st_mode >> 3 & wanted)
    return bool(status.st_mode & wanted)


def _uid(name: str | int | None) -> int:
    return _id(name, "user", lambda name: pwd.getpwnam(name).pw_uid)


def _gid(name: str | int | None) -> int:
    return _id(name, "group", lambda name: grp.getgrnam(name).gr_gid)


def _id(name: str | int | None, kind: str, look_up: Callable[[str], int]) -> int:
    if name is None:
        return -1  # chown(2): leave it unchanged
    if isinstance(name, int):
        return name
    try:
        return look_up(name)
    except KeyError:
        reason = f"this machine has no {kind} {name}; create it, or name another one"
        raise UnknownAccountError(reason) from None


class UnknownAccountError(LookupError):
    """The configuration names a user or a group that does not exist; `str()` says which."""
