"""Whether Postfix may connect to a UNIX listener: default permissions, faults, and their remedy.

`permissions` knows the rules of the kernel; `listeners` and the commands show what is found here.
"""

import os
import pwd
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from postfix_mta_sts.config.address import UnixAddress
from postfix_mta_sts.config.settings import ListenerSettings
from postfix_mta_sts.permissions import Account, obstacle
from postfix_mta_sts.postfix.client import POSTFIX_USER

DEFAULT_MODE: Final = 0o660
UNIT_LINES: Final = "SupplementaryGroups=postfix, SystemCallFilter=@chown"
"""What the [Service] section of our unit needs so that the daemon can give a socket to Postfix."""


@dataclass(frozen=True, slots=True)
class ListenerAccess:
    """The permissions of a UNIX listener, defaults included."""

    mode: int
    owner: str | int | None
    group: str | int | None


@dataclass(frozen=True, slots=True)
class Closed:
    """Why Postfix may not connect to a listener, and what to do."""

    address: UnixAddress
    reason: str
    advice: str


def postfix_account(
    look_up: Callable[[str], pwd.struct_passwd] = pwd.getpwnam,
) -> Account | None:
    """The user of Postfix on this machine, if there is one; the look-up may block.

    smtp(8) has no other group than that of passwd(5).
    """
    with suppress(KeyError):
        entry = look_up(POSTFIX_USER)
        return Account(entry.pw_uid, entry.pw_gid)
    return None


def access_of(listener: ListenerSettings) -> ListenerAccess:
    """The permissions that a UNIX listener gets."""
    mode = DEFAULT_MODE if listener.mode is None else listener.mode
    return ListenerAccess(mode, listener.owner, listener.group)


def give_to_postfix(listener: ListenerSettings, postfix: Account | None) -> None:
    """Give the socket of a listener without `mode`, `owner` and `group` to Postfix, if allowed."""
    address = listener.address
    if not postfix or not isinstance(address, UnixAddress) or not _has_defaults(listener):
        return
    # Not tried in vain: a unit may let the kernel kill a process that calls chown(2).
    if os.geteuid() == 0 or postfix.gid in {os.getegid(), *os.getgroups()}:
        with suppress(OSError):
            os.chown(address.path, -1, postfix.gid)


def find_closed(listener: ListenerSettings, postfix: Account | None) -> Closed | None:
    """What keeps Postfix from connecting to the socket of a listener; None: nothing, or unknown.

    The socket exists; `postfix` is None if this machine has no such user.
    """
    address = listener.address
    if not isinstance(address, UnixAddress):
        return None
    if postfix is None:
        return _closed_to_strangers(address) if _has_defaults(listener) else None
    try:
        found = obstacle(address.path, postfix)
        return None if found is None else _closed(listener, address, found, postfix)
    except OSError:  # this process may not examine it
        return None


def access_warnings(
    listeners: Sequence[ListenerSettings], postfix: Account | None
) -> Sequence[str]:
    """A line for each listener that exists and to which Postfix may not connect."""
    existing = [
        each
        for each in listeners
        if isinstance(each.address, UnixAddress) and os.path.exists(each.address.path)  # noqa: PTH110 (it raises nothing)
    ]
    found = [closed for each in existing if (closed := find_closed(each, postfix))]
    return [
        f"Postfix may not connect to {each.address}: {each.reason}; {each.advice}" for each in found
    ]


def _has_defaults(listener: ListenerSettings) -> bool:
    return listener.mode is None and listener.owner is None and listener.group is None


def _closed_to_strangers(address: UnixAddress) -> Closed:
    return Closed(
        address,
        "this machine has no user postfix, so the socket belongs to the user and group of the "
        "daemon",
        "set mode and group of the listener",
    )


def _closed(
    listener: ListenerSettings, address: UnixAddress, found: Path, postfix: Account
) -> Closed:
    status = found.stat()
    reason = (
        f"{found} has mode {stat.S_IMODE(status.st_mode):04o}, owner {status.st_uid} and group "
        f"{status.st_gid}; Postfix is user {postfix.uid}, group {postfix.gid}"
    )
    if found != address.path:
        advice = f"chmod o+x {found}, or another folder"
    elif _has_defaults(listener):
        advice = f"add to the [Service] section of the unit: {UNIT_LINES}"
    else:
        advice = 'set mode: "0660" and group: postfix for the listener'
    return Closed(address, reason, advice)
