"""`python -m tests.torture.launcher CONTROL PORT CONFIG`: the daemon with a clock that can be set.

Everything else is `postfix-mta-sts serve`. Statements to SQLite fail or take long as the control
file says: only the SQL is met, so that the daemon's own code is as it is.
"""

import functools
import os
import re
import sqlite3
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from postfix_mta_sts.cli import main as cli
from postfix_mta_sts.daemon import assembly, service
from tests.torture.control import Control, Disk

_WRITES = re.compile(r"\s*(INSERT|UPDATE|DELETE|REPLACE|COMMIT|CREATE|ALTER|WITH)\b", re.IGNORECASE)
_SLOW = re.compile(r"\s*(SELECT|COMMIT)\b(?!.*sqlite_(schema|master))", re.IGNORECASE | re.DOTALL)
_ERRORS: Final = {
    Disk.FULL: ("database or disk is full", sqlite3.SQLITE_FULL, "SQLITE_FULL"),
    Disk.READ_ONLY: (
        "attempt to write a readonly database",
        sqlite3.SQLITE_READONLY,
        "SQLITE_READONLY",
    ),
    Disk.BROKEN: ("disk I/O error", sqlite3.SQLITE_IOERR, "SQLITE_IOERR"),
}


def _check(control: Control, sql: str) -> None:
    """Raise the error, or wait as long, as the disk demands for this statement."""
    disk = control.disk
    if disk is Disk.GOOD:
        return
    if disk is Disk.SLOW:
        if _SLOW.match(sql):
            time.sleep(control.delay)
        return
    if disk is Disk.BROKEN or _WRITES.match(sql):
        text, code, name = _ERRORS[disk]
        error = sqlite3.OperationalError(text)
        error.sqlite_errorcode, error.sqlite_errorname = code, name
        raise error


def faulty_connection(control: Control) -> type[sqlite3.Connection]:
    """The class of connections whose statements meet the disk of the control file."""

    class FaultyConnection(sqlite3.Connection):
        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:  # noqa: ANN401 (as in sqlite3)
            _check(control, sql)
            return super().execute(sql, *args)

        def executemany(self, sql: str, rows: Iterable[Any], /) -> sqlite3.Cursor:
            _check(control, sql)
            return super().executemany(sql, rows)

    return FaultyConnection


def main() -> int:
    """Serve until SIGTERM."""
    control_path, port, config = sys.argv[1:]
    control = Control(Path(control_path))
    running = functools.partial(assembly.running, clock=control.clock, https_port=int(port))
    connect = functools.partial(sqlite3.connect, factory=faulty_connection(control))
    with (
        patch.object(service, "running", running),
        patch.object(sqlite3, "connect", connect),
        # The clients leave no CPU idle, so that a nicer network process would starve.
        patch.object(os, "setpriority", lambda *_: None),
    ):
        return cli.main(["serve", "--config", config])


if __name__ == "__main__":
    sys.exit(main())
