"""The listeners of a daemon and the matching lines of main.cf, the same three for every test.

Each daemon has its own port for socketmap; the next port is for tcp_table.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tests.e2e.mta import PUBLIC

PORT: Final = 8461
"""The port of the daemon that most tests share."""

SOCKETMAP_TCP: Final = "socketmap TCP"
SOCKETMAP_UNIX: Final = "socketmap UNIX"
TCP_TABLE: Final = "tcp_table"
WIRES: Final = (SOCKETMAP_TCP, SOCKETMAP_UNIX, TCP_TABLE)


def listeners(port: int, folders: Iterable[Path]) -> list[dict[str, str]]:
    """Return `listen` of a configuration, with a UNIX socket in each folder."""
    return [
        {"socketmap": f"127.0.0.1:{port}"},
        {"tcp_table": f"127.0.0.1:{port + 1}"},
        *({"socketmap": f"unix:{unix_path(port, f)}", "mode": "0666"} for f in folders),
    ]


def unix_path(port: int, folder: Path) -> Path:
    """Return the path of a daemon's socket in a folder."""
    return folder / f"{port}.sock"


def policy_maps(wire: str, port: int, map_name: str = "postfix") -> str:
    """Return `smtp_tls_policy_maps` of main.cf for a protocol."""
    return {
        SOCKETMAP_TCP: f"socketmap:inet:127.0.0.1:{port}:{map_name}",
        SOCKETMAP_UNIX: f"socketmap:unix:{PUBLIC}/{port}.sock:{map_name}",
        TCP_TABLE: f"tcp:127.0.0.1:{port + 1}",
    }[wire]
