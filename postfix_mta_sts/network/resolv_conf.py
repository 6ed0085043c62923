"""The name servers and options of the system, as resolv.conf(5) gives them and glibc reads it.

Postfix reads the file through glibc. What glibc ignores is ignored here: indented lines, unknown
words, addresses with something behind them. Search lists have no effect: all names are absolute.
"""

import ipaddress
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MAX_SERVERS: Final = 3  # MAXNS; this and the next two limits are in <resolv.h>
MAX_TIMEOUT: Final = 30
MAX_ATTEMPTS: Final = 5
LOCAL: Final = "127.0.0.1"
"""The server that glibc asks if the file names none."""

_MAX_SIZE: Final = 64 * 1024  # bytes read; a usual file has a few hundred
_LINE = re.compile(r"(nameserver|options)[ \t]+(.*)")
_WORD = re.compile(r"[^ \t]+")
_NUMBER = re.compile(r"\s*([+-]?[0-9]{1,9})")
_IPV4 = re.compile(r"[0-9A-Fa-fxX.]+")


@dataclass(frozen=True, slots=True)
class ResolvConf:
    """What counts of the file; None stands for an option that it does not have."""

    servers: tuple[str, ...] = ()
    """IP addresses, in order; a link-local one has its zone, `fe80::1%eth0`."""
    use_tcp: bool = False
    rotate: bool = False
    timeout: int | None = None
    """Seconds that a server has before another one is asked too."""
    attempts: int | None = None
    """Tries at each server."""


class ResolvConfFile:
    """Reads the file at `path` as often as `read` is called.

    A file that has lost all its servers is believed when it is read the second time: some programs
    empty it before they write it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last = parse(_text(path) or "")
        self._is_doubted = False

    def read(self) -> ResolvConf:
        """The file's content now; a file that is missing names no server, as with glibc.

        What it said counts on while it may not be read: the sandbox hides a file that was replaced.
        """
        text = _text(self._path)
        if text is None:
            return self._last
        found = parse(text)
        lost_all = bool(self._last.servers) and not found.servers
        self._is_doubted = lost_all and not self._is_doubted
        if not self._is_doubted:
            self._last = found
        return self._last


def parse(text: str) -> ResolvConf:
    """Read the text of a resolv.conf; whatever glibc does not understand has no effect."""
    servers: list[str] = []
    options: list[str] = []
    for line in text.split("\n"):
        if match := _LINE.match(line):
            (servers if match[1] == "nameserver" else options).append(match[2])
    found = [address for each in servers if (address := _address(each))]
    words = [word for each in options for word in _words(each)]
    return ResolvConf(
        servers=tuple(found[:MAX_SERVERS]),
        use_tcp=_has(words, "use-vc"),
        rotate=_has(words, "rotate"),
        timeout=_number(words, "timeout:", MAX_TIMEOUT),
        attempts=_number(words, "attempts:", MAX_ATTEMPTS),
    )


def _text(path: Path) -> str | None:
    """The text; None: it may not be read."""
    try:
        with path.open("rb") as file:
            return file.read(_MAX_SIZE).decode("utf-8", "replace")
    except PermissionError:
        return None
    except OSError:
        return ""


def _words(options: str) -> Iterator[str]:
    """Each option, with the rest of its line: glibc takes `timeout: 2` for `timeout:2`."""
    for match in _WORD.finditer(options):
        yield options[match.start() :]


def _has(words: list[str], option: str) -> bool:
    return any(word.startswith(option) for word in words)  # glibc compares no further


def _number(words: list[str], option: str, most: int) -> int | None:
    """The last value of an option, at least 1; what is not a number is 0 for glibc's atoi(3)."""
    values = [word.removeprefix(option) for word in words if word.startswith(option)]
    if not values:
        return None
    match = _NUMBER.match(values[-1])
    return min(max(int(match[1]) if match else 0, 1), most)


def _address(text: str) -> str | None:
    """The address at the start of a line's rest; None if glibc would ignore the line."""
    word = text.partition(" ")[0].partition("\t")[0]
    try:
        if _IPV4.fullmatch(word) and ":" not in word:
            return socket.inet_ntoa(socket.inet_aton(word))  # `127.1`, too
        host, _, zone = word.partition("%")
        address = ipaddress.IPv6Address(host)
    except (OSError, ValueError):
        return None
    return f"{address}%{zone}" if zone and address.is_link_local else str(address)
