"""The capabilities of a process (capabilities(7))."""

from pathlib import Path


def held_capabilities(kind: str, status: str | None = None) -> int:
    """A set of this process, or of another one's `/proc/PID/status`; `kind`: for example CapEff."""
    lines = (status or Path("/proc/self/status").read_text()).splitlines()
    return int(next(each.split()[1] for each in lines if each.startswith(f"{kind}:")), 16)
