"""A network namespace with only loopback: no packet leaves it, and port 25 is free.

It starts programs inside and creates sockets inside; `ip` does the rest.
"""

import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

_CLONE_NEWNET: Final = 0x40000000  # linux/sched.h
_ETH_P_ALL: Final = 0x0003  # linux/if_ether.h
_SO_RCVBUFFORCE: Final = 33  # asm-generic/socket.h
_PACKETS_KEPT: Final = 8 << 20
"""Bytes, until the test reads them."""
_NAMESPACES: Final = Path("/run/netns")
_SETTINGS: Final = Path("/etc/netns")
"""Files in a folder with the name of the namespace are mounted over /etc there (ip-netns(8))."""

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Namespace:
    """A living network namespace; made by `namespace`."""

    name: str

    def command(self, *words: str | Path) -> list[str]:
        """Return the command line that runs `words` inside."""
        return ["ip", "netns", "exec", self.name, *map(str, words)]

    def add_address(self, address: str) -> None:
        """Add an address to its loopback interface."""
        _ip("-n", self.name, "address", "add", address, "dev", "lo", "nodad")

    def listen(self, host: str, port: int) -> socket.socket:
        """Return a TCP socket that listens inside."""
        return self._inside(lambda: socket.create_server((host, port), backlog=256))

    def bind(self, host: str, port: int) -> socket.socket:
        """Return a UDP socket bound inside."""

        def make() -> socket.socket:
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            made.bind((host, port))
            return made

        return self._inside(make)

    def listen_to_packets(self) -> socket.socket:
        """Return a packet socket (packet(7)) that gets all that passes inside, from IP on."""

        def make() -> socket.socket:
            everything = socket.htons(_ETH_P_ALL)
            made = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, everything)
            made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _PACKETS_KEPT)
            made.bind(("lo", _ETH_P_ALL))
            return made

        return self._inside(make)

    def connect(self, host: str, port: int) -> socket.socket:
        """Return a TCP connection inside, with a timeout of 30 seconds."""
        return self._inside(lambda: socket.create_connection((host, port), timeout=30))

    def _inside(self, make: Callable[[], Made]) -> Made:
        # A socket belongs to the namespace of the thread that creates it, so use a thread.
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(self._enter_and, make).result()

    def _enter_and(self, make: Callable[[], Made]) -> Made:
        libc = ctypes.CDLL(None, use_errno=True)
        with (_NAMESPACES / self.name).open("rb") as entry:
            if libc.setns(entry.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"cannot enter the namespace {self.name}")
        return make()


@contextlib.contextmanager
def namespace(name: str, resolver: str) -> Iterator[Namespace]:
    """Create a namespace whose programs use the name server at the address `resolver`.

    One of this name is replaced: names have the process id, so a process that was killed has left
    it. Raises `subprocess.CalledProcessError` if the machine does not allow one.
    """
    settings = _SETTINGS / name
    if (_NAMESPACES / name).exists():
        _ip("netns", "delete", name)
        shutil.rmtree(settings, ignore_errors=True)
    _ip("netns", "add", name)
    try:
        _ip("-n", name, "link", "set", "lo", "up")
        settings.mkdir(parents=True)
        (settings / "resolv.conf").write_text(f"nameserver {resolver}\n")
        yield Namespace(name)
    finally:
        _ip("netns", "delete", name)
        shutil.rmtree(settings, ignore_errors=True)


def obstacle() -> str | None:
    """Return why this machine cannot create a namespace, or None if it can."""
    if os.geteuid() != 0:
        return "a network namespace needs root"
    if not shutil.which("ip"):
        return "a network namespace needs ip (package iproute2)"
    try:
        with namespace(f"mta-sts-probe-{os.getpid()}", "127.0.0.1"):
            return None
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no network namespace can be made here: {error}"


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
