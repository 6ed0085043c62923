"""The interfaces of systemd: sd_notify(3), sd_listen_fds(3) and sd_watchdog_enabled(3).

This module uses the environment and sockets, and no event loop. Outside systemd it sends nothing
and inherits nothing. `service` decides when to notify.
"""

import logging
import re
import socket
import time
from collections.abc import Mapping, MutableMapping
from typing import Final

from postfix_mta_sts.logs import event

FIRST_FD: Final = 3
"""SD_LISTEN_FDS_START of sd_listen_fds(3)."""

_VARIABLES: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
_COUNT = re.compile(r"[0-9]{1,4}")
_MICROSECONDS = re.compile(r"[1-9][0-9]{0,17}")

_log = logging.getLogger(__name__)


def notify(environ: Mapping[str, str], *lines: str) -> None:
    """Send lines to systemd in one datagram: `READY=1`, `STOPPING=1`, `WATCHDOG=1`, `STATUS=…`.

    An error is only logged, at DEBUG: the service runs without notifications, too.
    """
    address = environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # an abstract socket, which begins with a null byte (unix(7))
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.settimeout(0)  # do not block
            sock.sendto("\n".join(lines).encode(), address)
    except OSError as error:
        event(
            _log, logging.DEBUG, "systemd notification failed", lines=lines, reason=error.strerror
        )


def reloading() -> tuple[str, str]:
    """Return the lines that announce a reload; `READY=1` ends it (systemd.service(5))."""
    return "RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}"


def watchdog(environ: Mapping[str, str], pid: int) -> float | None:
    """Return the seconds within which systemd expects `WATCHDOG=1` (sd_watchdog_enabled(3)).

    None: the watchdog is off, or expects another process than `pid`.
    """
    if environ.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    microseconds = environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1e6 if _MICROSECONDS.fullmatch(microseconds) else None


def inherited(
    environ: MutableMapping[str, str], pid: int, first: int = FIRST_FD
) -> list[socket.socket]:
    """Return the sockets that systemd has opened for this process, in its order.

    They do not block, and children do not inherit them. The variables that announce them are
    removed from `environ`, so that no child mistakes them for its own.
    """
    announced = {name: environ.pop(name, "") for name in _VARIABLES}
    if announced["LISTEN_PID"] != str(pid) or not _COUNT.fullmatch(announced["LISTEN_FDS"]):
        return []
    fds = range(first, first + int(announced["LISTEN_FDS"]))
    return [sock for fd in fds if (sock := _adopt(fd)) is not None]


def _adopt(fd: int) -> socket.socket | None:
    try:
        sock = socket.socket(fileno=fd)
    except OSError as error:
        event(
            _log,
            logging.WARNING,
            "inherited file descriptor is not a socket",
            fd=fd,
            reason=error.strerror,
        )
        return None
    sock.settimeout(0)  # do not block
    sock.set_inheritable(False)
    return sock
