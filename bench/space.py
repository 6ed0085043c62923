"""A place of its own for a run: processes that end with it, and a network of nothing but loopback.

Border: namespaces of Linux by way of unshare(1). Inside, port 53 and port 443 are free, the name
server of resolv.conf is ours, and no packet gets out; when the run ends, however it ends, the
kernel ends every process that it started.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

NAMESERVER = "127.0.0.1"


class NoSpaceError(Exception):
    """This machine allows no namespaces; `str()` says what it said."""


def run_inside(module: str, arguments: Sequence[str]) -> int:
    """Run a Python module inside; its exit code. Raises `NoSpaceError`."""
    words = _unshare()
    probe = subprocess.run([*words, "true"], check=False, capture_output=True, text=True)
    if probe.returncode:
        raise NoSpaceError(probe.stderr.strip())
    command = [*words, sys.executable, "-m", module, *arguments]
    return subprocess.run(command, check=False).returncode


def furnish(folder: Path) -> None:
    """Called inside, first: bring loopback up, and name our name server."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    file = folder / "resolv.conf"
    file.write_text(f"nameserver {NAMESERVER}\n")
    subprocess.run(["mount", "--bind", file, "/etc/resolv.conf"], check=True)


def _unshare() -> list[str]:
    words = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return words if os.geteuid() == 0 else [*words, "--map-root-user"]
