"""Ask a server as smtp(8) would: as the user of Postfix, in its queue directory or its chroot.

Each question is a process of its own, `inside`, since a process that has given up root, or has
entered a chroot, cannot go back. It gets the module path of this process, and is killed when its
time is over.
"""

import asyncio
import json
import os
import pwd
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from postfix_mta_sts.config.address import TcpAddress, UnixAddress, is_ip
from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.permissions import Account
from postfix_mta_sts.postfix.client import POSTFIX_USER
from postfix_mta_sts.postfix.installed.inside import DATAGRAM, LATE, Task
from postfix_mta_sts.postfix.installed.outcome import NotAskedError, parse_output, request_for
from postfix_mta_sts.postfix.installed.values import Reach, Standpoint
from postfix_mta_sts.postfix.policy_maps import Server
from postfix_mta_sts.postfix.programs import ProgramError, run

TIMEOUT: Final = 2.0
"""Seconds for one question, with the start of its process."""

_SERVER_TIMEOUT: Final = 1.0  # of the server alone; the rest is for the start of the process
_OUTPUT_LIMIT: Final = 1024 * 1024  # the longest reply; a byte takes at most six in JSON
_PROGRAM: Final = (
    "import sys; sys.path[:] = sys.argv[2:]; "
    "from postfix_mta_sts.postfix.installed.inside import main; main(sys.argv[1])"
)


@dataclass(frozen=True, slots=True)
class View:
    """As whom, and from where, servers are asked."""

    standpoint: Standpoint
    queue_directory: str
    account: Account | None = None
    """The user of Postfix; None with `Standpoint.SELF`."""

    @property
    def is_chrooted(self) -> bool:
        """Whether servers are asked from inside the chroot."""
        return self.standpoint is Standpoint.CHROOT


def account_of(mail_owner: str = POSTFIX_USER) -> Account | None:
    """The user `mail_owner` (postconf(5)), with its only group; the look-up may block.

    None: there is no such user, or this process may not become it, since it is not root.
    """
    if os.geteuid() == 0:
        with suppress(KeyError):
            entry = pwd.getpwnam(mail_owner)
            return Account(entry.pw_uid, entry.pw_gid)
    return None


def views_of(queue_directory: str, account: Account | None, *, chrooted: bool) -> tuple[View, ...]:
    """From where to ask: the place of smtp(8) first, then the same user outside of the chroot.

    What works outside only is the fault of the chroot. Without the account of Postfix there is one
    view, that of this process.
    """
    if account is None:
        return (View(Standpoint.SELF, queue_directory),)
    places = (Standpoint.CHROOT, Standpoint.POSTFIX) if chrooted else (Standpoint.POSTFIX,)
    return tuple(View(each, queue_directory, account) for each in places)


async def ask_inside(server: Server, view: View) -> Reach:
    """What a server answers for a key that leads to no look-up; raises `NotAskedError`.

    The address is as seen from outside the chroot, as `policy_maps.server_of` has it.
    """
    return await _run(_task(view, server.wire, server.address, request_for(server)), view)


async def connect_inside(socket: Path, view: View) -> Reach:
    """Whether a datagram socket takes a connection; nothing is sent. Raises `NotAskedError`.

    The path is as seen from outside the chroot.
    """
    return await _run(_task(view, DATAGRAM, UnixAddress(socket), b""), view)


def _task(view: View, wire: str, address: TcpAddress | UnixAddress, request: bytes) -> Task:
    host, port, path = "", 0, ""
    if isinstance(address, TcpAddress):
        host, port = address.host, address.port
    else:
        path = seen_from(view.queue_directory, address.path)
    return Task(
        wire=wire,
        path=path,
        host=host,
        port=port,
        request=request.decode("latin-1"),
        queue_directory=view.queue_directory,
        uid=view.account.uid if view.account else None,
        gid=view.account.gid if view.account else 0,
        chrooted=view.is_chrooted,
        seconds=_SERVER_TIMEOUT,
    )


def seen_from(queue_directory: str, path: Path) -> str:
    """A path as smtp(8) uses it, whose working directory is the queue directory.

    What is below has the same relative path inside and outside of the chroot.
    """
    queue = Path(queue_directory)
    return str(path.relative_to(queue) if path.is_relative_to(queue) else path)


async def _run(task: Task, view: View) -> Reach:
    """Start `inside`, and read what it prints; raises `NotAskedError`."""
    flags = ["-I", "-B", *(["-S"] * sys.flags.no_site), "-c", _PROGRAM]
    command = [sys.executable, *flags, json.dumps(task), *sys.path]
    try:
        async with asyncio.timeout(TIMEOUT):
            output = await run(command, limit=_OUTPUT_LIMIT, timeout=TIMEOUT + 1)
    except TimeoutError:
        if not task["host"] or is_ip(task["host"]):  # it would have said that the server is late
            raise NotAskedError(f"its process took more than {TIMEOUT:g} s") from None
        return Reach(view.standpoint, LATE, f"no address within {TIMEOUT:g} s")
    except ProgramError as error:
        raise NotAskedError(printable(str(error))) from None
    if output.code != 0:
        raise NotAskedError(printable(f"its process failed: {output.reason}"))
    return parse_output(output.text, task["wire"], view.standpoint)
