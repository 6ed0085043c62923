"""Where a daemon listens and how main.cf says so: the same three ways for every test.

A port number is a daemon's own; the port after it is its tcp_table's.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tests.e2e.mta import PUBLIC

PORT: Final = 8461
"""Of the daemon that most tests share."""

SOCKETMAP_TCP: Final = "socketmap TCP"
SOCKETMAP_UNIX: Final = "socketmap UNIX"
TCP_TABLE: Final = "tcp_table"
WIRES: Final = (SOCKETMAP_TCP, SOCKETMAP_UNIX, TCP_TABLE)


def listeners(port: int, folders: Iterable[Path]) -> list[dict[str, str]]:
    """`listen` of a configuration; each folder gets a socket for the Postfix that sees it."""
    return [
        {"socketmap": f"127.0.0.1:{port}"},
        {"tcp_table": f"127.0.0.1:{port + 1}"},
        *({"socketmap": f"unix:{unix_path(port, f)}", "mode": "0666"} for f in folders),
    ]


def unix_path(port: int, folder: Path) -> Path:
    """The socket of a daemon in a Postfix's folder."""
    return folder / f"{port}.sock"


def policy_maps(wire: str, port: int, map_name: str = "postfix") -> str:
    """`smtp_tls_policy_maps` of main.cf for a wire."""
    return {
        SOCKETMAP_TCP: f"socketmap:inet:127.0.0.1:{port}:{map_name}",
        SOCKETMAP_UNIX: f"socketmap:unix:{PUBLIC}/{port}.sock:{map_name}",
        TCP_TABLE: f"tcp:127.0.0.1:{port + 1}",
    }[wire]
