"""Say whether a program of the configuration can be run on this machine.

A start does not depend on it: without the daemon Postfix defers all mail, without the program only
an alert is lost.
"""

import os
import stat
from pathlib import Path


def program_problem(path: str) -> str:
    """Why this process cannot run a program, and what to do; empty if it can. This may block."""
    try:
        mode = Path(path).stat().st_mode
    except OSError as error:
        reason = "there is no file" if isinstance(error, FileNotFoundError) else error.strerror
        return f"{path}: {reason}; install it, or write another path"
    if not stat.S_ISREG(mode):
        return f"{path} is not a program; write another path"
    if not os.access(path, os.X_OK):
        return f"user {os.geteuid()} may not execute {path}; chmod +x it, or write another path"
    return ""
