"""The test itself moves into a network namespace: what it starts and connects to is inside."""

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from tests.e2e.namespace import Namespace

_CLONE_NEWNET: Final = 0x40000000  # linux/sched.h
_NAMESPACES: Final = Path("/run/netns")


@contextlib.contextmanager
def entered(inside: Namespace) -> Iterator[None]:
    """Be inside while the context is open: this thread, and what it starts from now on."""
    with (
        Path("/proc/thread-self/ns/net").open("rb") as before,
        (_NAMESPACES / inside.name).open("rb") as there,
    ):
        _enter(there)
        try:
            yield
        finally:
            _enter(before)


def _enter(entry: IO[bytes]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(entry.fileno(), _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "cannot enter a network namespace", os.fspath(entry.name))
