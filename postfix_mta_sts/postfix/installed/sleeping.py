"""Servers that systemd would start for a question, which is why `doctor` does not ask them.

systemd listens for a service that does not run (systemd.socket(5)). A connection starts it, and
`doctor` changes nothing. Pure, but for symbolic links in paths.
"""

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final, TypeAlias

from postfix_mta_sts.config.address import TcpAddress, UnixAddress, parse_address

Sleeping: TypeAlias = Sequence[TcpAddress | UnixAddress]
"""The addresses of such servers."""

REASON: Final = "the question would make systemd start the daemon"


def sleeping_at(listen: Iterable[str]) -> Sleeping:
    """The addresses of `ListenStream=`: a path, `host:port`, `[v6]:port`, or a port alone."""
    found: list[TcpAddress | UnixAddress] = []
    for each in listen:
        text = f"unix:{each}" if each.startswith("/") else each
        with suppress(ValueError):
            found.append(parse_address(f"0.0.0.0:{each}" if each.isdecimal() else text))
    return tuple(found)


def sleeps(address: TcpAddress | UnixAddress, sleeping: Sleeping) -> bool:
    """Whether it is one of them. Of a TCP address only the port counts: hosts have many names."""
    if isinstance(address, TcpAddress):
        ports = {each.port for each in sleeping if isinstance(each, TcpAddress)}
        return address.port in ports
    paths = {os.path.realpath(each.path) for each in sleeping if isinstance(each, UnixAddress)}
    return os.path.realpath(address.path) in paths
