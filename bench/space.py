"""Run a module in new Linux namespaces, with unshare(1).

Inside there is only loopback, ports 53 and 443 are free, and resolv.conf names our name server.
When the run ends, however it ends, the kernel kills all processes that it started.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

NAMESERVER = "127.0.0.1"


class NoSpaceError(Exception):
    """This machine does not allow namespaces; `str()` is its error."""


def run_inside(module: str, arguments: Sequence[str]) -> int:
    """Run a Python module inside; return its exit code. Raises `NoSpaceError`."""
    words = _unshare()
    probe = subprocess.run([*words, "true"], check=False, capture_output=True, text=True)
    if probe.returncode:
        raise NoSpaceError(probe.stderr.strip())
    command = [*words, sys.executable, "-m", module, *arguments]
    return subprocess.run(command, check=False).returncode


def set_up(folder: Path) -> None:
    """Bring loopback up and set our name server. Call this first, inside."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    file = folder / "resolv.conf"
    file.write_text(f"nameserver {NAMESERVER}\n")
    subprocess.run(["mount", "--bind", file, "/etc/resolv.conf"], check=True)


def _unshare() -> list[str]:
    words = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return words if os.geteuid() == 0 else [*words, "--map-root-user"]
