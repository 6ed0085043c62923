"""Start the servers that are compared, each with its configuration, and the network they use.

No server is tuned beyond the configuration in this file.
"""

import contextlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

import yaml

from bench import programs
from bench.process import Address, Command, Process, answers_at, running
from bench.space import NAMESERVER

FLOOR: Final = "floor"
DAEMON: Final = "daemon"
PEER: Final = "peer"
PEER_SQLITE: Final = "peer, SQLite"
OTHER: Final = "other checkout"

_OTHER_MACHINES: Final = 10
"""The niceness of programs that run on other machines in reality, on their CPUs."""

_POLICY_HOST = "127.0.0.21"
_HOLE = "127.0.0.66"
_STALL = "127.0.0.67"


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A running server and its addresses, by transport: `TCP`, `UNIX`, `tcp_table`."""

    name: str
    process: Process
    at: Mapping[str, Address]


class Servers:
    """Starts servers; all their files are in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = 10_000
        self._ca = folder / "ca.pem"

    @contextlib.contextmanager
    def network(self) -> Iterator[None]:
        """Run the name server and the Policy Host; their cost is not counted."""
        hosts = (_POLICY_HOST, _HOLE, _STALL)
        dns: Command = [programs.BUILD / "dns", NAMESERVER, "53", *hosts]
        policy_host: Command = [programs.BUILD / "policy_host", self._ca, *hosts]
        with (
            running(dns, self._log("dns"), lambda: True, niceness=_OTHER_MACHINES),
            running(
                policy_host, self._log("policy_host"), self._ca.exists, niceness=_OTHER_MACHINES
            ),
        ):
            yield

    @contextlib.contextmanager
    def floor(self, reply: str) -> Iterator[RunningServer]:
        """Run the floor; `reply` is the text of each reply."""
        tcp, unix = self._tcp(), self._unix()
        port, path = (address.text.partition(":")[2] for address in (tcp, unix))
        command: Command = [programs.BUILD / "floor", port, path, reply]
        with running(command, self._log(FLOOR), answers_at(unix)) as process:
            yield RunningServer(FLOOR, process, {"TCP": tcp, "UNIX": unix})

    @contextlib.contextmanager
    def daemon(
        self,
        *,
        store: Path | None = None,
        entries: int = 100_000,
        lookup_timeout: float = 10.0,
        https_timeout: float = 60.0,
        metrics: bool = False,
        sections: Mapping[str, object] = MappingProxyType({}),
        checkout: Path | None = None,
    ) -> Iterator[RunningServer]:
        """Run the daemon of this virtual environment; without `store` it creates an empty one.

        `metrics`: serve them on one more address, of that name. `sections`: more of the
        configuration, by key; without it DANE is off. `checkout`: the daemon of another
        checkout instead, from the virtual environment in its folder `.venv`.
        """
        at = {"TCP": self._tcp(), "UNIX": self._unix(), "tcp_table": self._tcp()}
        if metrics:
            at["metrics"] = self._unix()
        config = {
            "listen": [
                {"socketmap": _format(at["TCP"])},
                {"socketmap": _format(at["UNIX"])},
                {"tcp_table": _format(at["tcp_table"])},
            ],
            "cache": {
                "path": str(store or self._new("daemon.db")),
                "memory_entries": entries,
                **({"memory": "1GiB"} if entries > 100_000 else {}),
            },
            "control": {"path": str(self._new("control.sock"))},
            "lookup": {"timeout": f"{lookup_timeout:g}s"},
            "https": {
                "ca_file": str(self._ca),
                "allow_private_addresses": True,
                "timeout": f"{https_timeout:g}s",
            },
            "dane": {"mode": "off"},
            **({"metrics": {"listen": _format(at["metrics"])}} if metrics else {}),
            **sections,
        }
        file = self._new("daemon.yml")
        file.write_text(yaml.safe_dump(config))
        command: Command = [
            _program(checkout),
            "serve",
            "--config",
            file,
        ]
        name = OTHER if checkout else DAEMON
        with running(command, self._log(name), answers_at(at["tcp_table"])) as process:
            yield RunningServer(name, process, at)

    @contextlib.contextmanager
    def peer(self, transport: str = "TCP", *, sqlite: bool = False) -> Iterator[RunningServer]:
        """Run the peer. It does not check a policy again during a run: its best case."""
        at = self._unix() if transport == "UNIX" else self._tcp()
        kind, _, where = at.text.partition(":")
        options = {"filename": str(self._new("peer.db"))} if sqlite else {"cache_size": 100_000}
        config = {
            "cache_grace": 86_400,
            "cache": {"type": "sqlite" if sqlite else "internal", "options": options},
            "default_zone": {"strict_testing": False},
            **({"path": where} if kind == "unix" else {"host": "127.0.0.1", "port": int(where)}),
        }
        file = self._new("peer.yml")
        file.write_text(yaml.safe_dump(config))
        command: Command = [programs.install_peer() / "mta-sts-daemon", "--config", file]
        trusted = {"SSL_CERT_FILE": str(self._ca)}
        with running(command, self._log(PEER), answers_at(at), trusted) as process:
            yield RunningServer(PEER_SQLITE if sqlite else PEER, process, {transport: at})

    def _tcp(self) -> Address:
        self._port += 1
        return Address(f"tcp:{self._port}")

    def _unix(self) -> Address:
        return Address(f"unix:{self._new('sock')}")

    def _new(self, name: str) -> Path:
        """Return a new path."""
        self._port += 1
        return self._folder / f"{self._port}-{name}"

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"


def _program(checkout: Path | None) -> Path:
    if checkout:
        return checkout / ".venv/bin/postfix-mta-sts"
    return Path(sys.executable).with_name("postfix-mta-sts")


def _format(address: Address) -> str:
    """Return an address in the notation of the daemon's configuration."""
    return address.text.replace("tcp:", "127.0.0.1:", 1)
