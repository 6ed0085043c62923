"""What can be seen of the daemon: its control socket, its listeners, its process and its store.

Only reads. What blocks is to run in a thread; limits are those of `ControlClient` and `probe`.
"""

import os
import re
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from postfix_mta_sts.admin.client import (
    ControlClient,
    ControlDeniedError,
    ControlError,
    NotRunningError,
)
from postfix_mta_sts.admin.doctor.daemon_status import checked
from postfix_mta_sts.admin.doctor.snapshot import Daemon, DaemonState, StoreFile
from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.config.settings import ListenerSettings
from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.permissions import Account, may
from postfix_mta_sts.postfix import probe
from postfix_mta_sts.postfix.probe import Place, ProbeError

CONTROL_TIMEOUT: Final = 2.5
"""Seconds for the answer at the control socket."""
LISTENER_TIMEOUT: Final = 1.0
"""Seconds for a reply that needs no network."""

_PROC: Final = Path("/proc")
_PROC_LIMIT: Final = 64 * 1024  # bytes of a file in /proc
_WORD_LIMIT: Final = 1_000


@dataclass(frozen=True, slots=True)
class Process:
    """A process of the daemon, as proc(5) shows it."""

    command_line: tuple[str, ...]
    account: Account


def ask_daemon(client: ControlClient) -> Daemon:
    """Ask for the status over the control socket; blocks for the timeout of the client."""
    try:
        return Daemon(DaemonState.ANSWERS, status=checked(client.ask("GET", "status")))
    except ControlError as error:
        return Daemon(_state(error), printable(str(error), 500))


def _state(error: ControlError) -> DaemonState:
    match error:
        case NotRunningError():
            return DaemonState.NOT_RUNNING
        case ControlDeniedError():
            return DaemonState.DENIED
    return DaemonState.HANGS


async def without_control(daemon: Daemon, listeners: Sequence[ListenerSettings]) -> Daemon:
    """The daemon without a control socket: another state if one of its listeners answers."""
    for listener in listeners:
        if await _answers(listener):
            return replace(daemon, state=DaemonState.NO_CONTROL)
    return daemon


async def _answers(listener: ListenerSettings) -> bool:
    address = listener.address
    if isinstance(address, TcpAddress) and not address.port:
        return False
    try:
        await probe.ask(Place(listener.wire, address), timeout=LISTENER_TIMEOUT)
    except ProbeError:
        return False
    return True


def read_process(pid: int, proc: Path = _PROC) -> Process:
    """Read the words and the user of a process. Raises `OSError`."""
    folder = proc / str(pid)
    words = _read(folder / "cmdline").rstrip(b"\0").split(b"\0")
    status = _read(folder / "status")
    shown = tuple(printable(word, _WORD_LIMIT) for word in words)
    return Process(shown, Account(_effective_id(b"Uid", status), _effective_id(b"Gid", status)))


def _effective_id(name: bytes, status: bytes) -> int:
    """The second number of a line, behind the real id. Raises `OSError` without such a line."""
    match = re.search(rb"^%b:\t\d+\t(\d+)" % name, status, re.MULTILINE)
    if match is None:
        raise OSError(f"no {name.decode()} in /proc")
    return int(match[1])


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_PROC_LIMIT)


def look_at_store(path: Path, account: Account) -> StoreFile:
    """Say what the daemon's user may do with its store. Raises `OSError`.

    SQLite writes files beside the store, so the folder counts, too.
    """
    folder = path.parent
    inside = folder.stat()
    entered = stat.S_ISDIR(inside.st_mode) and may(inside, account, os.X_OK)
    readable, writable = entered, entered and may(inside, account, os.W_OK)
    with suppress(FileNotFoundError):  # the daemon creates it
        found = path.stat()
        readable = readable and may(found, account, os.R_OK)
        writable = writable and may(found, account, os.W_OK)
    return StoreFile(printable(str(path)), printable(str(folder)), readable, writable)
