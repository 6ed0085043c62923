"""Finds the mail log of this machine, and the commands that print what is added to it.

Postfix writes to `maillog_file`, or else to the system's log: files of syslogd, and the journal of
systemd. All that exist are read, because a file may be a leftover. `tail -F` follows a file that is
rotated.
"""

import os
import stat
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from postfix_mta_sts.postfix.programs import is_installed

LOGS: Final = (Path("/var/log/mail.log"), Path("/var/log/maillog"))
"""Debian; Red Hat, SUSE, FreeBSD."""

_MAIL_FACILITY: Final = "SYSLOG_FACILITY=2"  # systemd.journal-fields(7), syslog(3)


@dataclass(frozen=True, slots=True)
class MailLog:
    """How to follow the mail log."""

    commands: tuple[tuple[str, ...], ...] = ()
    """Each prints the lines that are added from now on, and does not end."""
    names: tuple[str, ...] = ()
    """Where the lines come from, for people."""
    problems: tuple[str, ...] = ()
    """What cannot be read, and why."""

    def __add__(self, other: "MailLog") -> "MailLog":
        return MailLog(
            self.commands + other.commands,
            self.names + other.names,
            self.problems + other.problems,
        )


def find_mail_log(
    maillog_file: str,
    *,
    files: Sequence[Path] = LOGS,
    journal: Sequence[str] = ("journalctl",),
    clock: Callable[[], float] = time.time,
) -> MailLog:
    """The log from now on; `maillog_file` as in main.cf. It opens files, and may block."""
    if maillog_file:
        return _file(Path(maillog_file), "maillog_file of main.cf, ")
    found = MailLog()
    for path in files:
        if path.exists():
            found += _file(path)
    if is_installed(journal[0]):
        follow = (
            "-q",
            "-f",
            "--no-tail",
            "-o",
            "cat",
            "--since",
            f"@{clock():.6f}",
            _MAIL_FACILITY,
        )
        found += MailLog(((*journal, *follow),), ("the journal",))
    if not found.commands and not found.problems:
        names = " and ".join(map(str, files))
        return MailLog(problems=(f"there is no mail log: {names} do not exist",))
    return found


def _file(path: Path, role: str = "") -> MailLog:
    """The lines that a file gets from now on."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a FIFO would block
        status = os.fstat(descriptor)
        os.close(descriptor)
    except OSError as error:
        return MailLog(problems=(f"{role}{path}: {error.strerror}",))
    if not stat.S_ISREG(status.st_mode):
        return MailLog(problems=(f"{role}{path}: not a file that this command can read",))
    command = ("tail", "-c", f"+{status.st_size + 1}", "-F", str(path))
    return MailLog((command,), (str(path),))
