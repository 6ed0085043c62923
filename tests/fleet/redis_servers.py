"""Redis 7 and Valkey 8 of Debian's packages, alone or as three Sentinels with two servers."""

import contextlib
import enum
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import redis

from tests.e2e.namespace import Namespace
from tests.e2e.trees import NoTreeError
from tests.fleet.servers import Server, Suite, fleet_tree
from tests.support.obstacles import cannot
from tests.support.ports import free_port

ADMIN: Final = "the-administrator"
"""The password of the user `default`, which may do everything."""
HOST: Final = "127.0.0.1"
PREFIX: Final = "mta_sts"
RELAY: Final = "mta_sts"
RELAY_PASSWORD: Final = "CHANGE-THIS"  # noqa: S105 (of the documentation)

TLS_LINES: Final = (
    "tls-cert-file /mnt/server.crt",
    "tls-key-file /mnt/server.key",
    "tls-auth-clients no",
)
"""For a server with `is_tls`, whose certificate was written to its folder."""

_PAGE: Final = Path(__file__).parents[2] / "docs/fleet.md"


class Flavour(enum.StrEnum):
    """Which of the two."""

    REDIS = "redis"
    VALKEY = "valkey"

    @property
    def suite(self) -> Suite:
        """The Debian release that has it."""
        return Suite.BOOKWORM if self is Flavour.REDIS else Suite.TRIXIE


_COMMON: Final = f"""\
bind {HOST}
daemonize no
dir /mnt
logfile ""
save ""
appendonly no
enable-debug-command yes
repl-diskless-sync-delay 0
requirepass {ADMIN}
masterauth {ADMIN}
"""


def relay_line() -> str:
    """The user of the relays with the least rights that work: the line of docs/fleet.md."""
    (line,) = re.findall(rf"^user {RELAY} .*$", _PAGE.read_text(), re.MULTILINE)
    assert f" >{RELAY_PASSWORD} " in line
    return str(line)


class RedisServer:
    """A Redis or a Valkey at a free port of 127.0.0.1, not started yet.

    `lines` are added to its configuration, such as `user …` or `maxmemory 20mb`.
    """

    def __init__(
        self,
        flavour: Flavour,
        folder: Path,
        lines: Sequence[str] = (),
        *,
        inside: Namespace | None = None,
        is_tls: bool = False,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        # By default it is 10,000 above the other, where any client may have it already.
        self.bus_port = free_port()
        ports = [f"port {self.port}", f"cluster-port {self.bus_port}"]
        self._lines = [*ports, "unixsocket /mnt/socket", *lines]
        self.tls_port = free_port() if is_tls else 0
        if is_tls:
            self._lines.append(f"tls-port {self.tls_port}")
        words = (f"/usr/bin/{flavour}-server", "/mnt/server.conf")
        self.server = Server(fleet_tree(flavour.suite), folder, words, inside=inside)

    @property
    def socket(self) -> Path:
        """Its UNIX socket."""
        return self.server.folder / "socket"

    def start(self, *more: str, until: Callable[[], bool] | None = None) -> None:
        """Start it, `more` are lines of its configuration for this time."""
        text = _COMMON + "".join(f"{each}\n" for each in (*self._lines, *more))
        (self.server.folder / "server.conf").write_text(text)
        self.server.start(until or self._is_ready)

    def restart(self, *more: str) -> None:
        """End it as a power failure does, and start it."""
        self.server.kill()
        self.start(*more)

    def admin(self, *words: str | bytes | int, user: str = "default", password: str = ADMIN) -> Any:  # noqa: ANN401 (what Redis answers)
        """Run a command as the administrator, or as another user."""
        with self._client(user, password) as client:
            return client.execute_command(*words)

    def is_loading(self) -> bool:
        """Whether it reads its data, and says so."""
        try:
            self.admin("PING")
        except redis.BusyLoadingError:
            return True
        except redis.RedisError:
            return False
        return False

    def _client(self, user: str, password: str) -> redis.Redis:
        return redis.Redis(
            host=HOST,
            port=self.port,
            username=user,
            password=password,
            protocol=2,
            driver_info=None,
        )

    def _is_ready(self) -> bool:
        try:
            return bool(self.admin("PING"))
        except redis.RedisError:
            return False


@contextlib.contextmanager
def redis_server(
    flavour: Flavour, folder: Path, lines: Sequence[str] = (), *, inside: Namespace | None = None
) -> Iterator[RedisServer]:
    """Run a Redis or a Valkey."""
    made = RedisServer(flavour, folder, lines, inside=inside)
    made.start()
    try:
        yield made
    finally:
        made.server.kill()


def running(flavour: Flavour, folder: Path, lines: Sequence[str] = ()) -> Iterator[RedisServer]:
    """Run one for a fixture; the test is skipped if this machine cannot."""
    if os.geteuid():
        cannot("the servers of a Debian tree need root")
    try:
        fleet_tree(flavour.suite)
    except NoTreeError as error:
        cannot(str(error))
    with redis_server(flavour, folder, lines) as made:
        yield made


@dataclass(frozen=True, slots=True)
class SentinelSet:
    """Two servers, of which one is the primary, and three Sentinels that watch them."""

    name: str
    servers: tuple[RedisServer, RedisServer]
    sentinels: tuple["Sentinel", ...]

    def primary(self) -> RedisServer:
        """The server that the Sentinels name."""
        _, port = self.sentinels[0].ask("GET-MASTER-ADDR-BY-NAME", self.name)
        return next(each for each in self.servers if each.port == int(port))


class Sentinel:
    """A Sentinel for the primary `name`, not started yet."""

    def __init__(self, flavour: Flavour, folder: Path, name: str, primary: RedisServer) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        lines = (
            f"port {self.port}",
            f"bind {HOST}",
            "dir /mnt",
            f"sentinel monitor {name} {HOST} {primary.port} 2",
            f"sentinel auth-pass {name} {ADMIN}",
            f"sentinel down-after-milliseconds {name} 500",
            f"sentinel failover-timeout {name} 3000",
        )
        (folder / "sentinel.conf").write_text("".join(f"{each}\n" for each in lines))
        words = (f"/usr/bin/{flavour}-server", "/mnt/sentinel.conf", "--sentinel")
        self.server = Server(fleet_tree(flavour.suite), folder, words)
        self.name = name

    def start(self) -> None:
        """Start it."""
        self.server.start(self._is_ready)

    def ask(self, *words: str) -> Any:  # noqa: ANN401 (what Redis answers)
        """Run a SENTINEL command."""
        with redis.Redis(host=HOST, port=self.port, protocol=2) as client:
            return client.execute_command("SENTINEL", *words)

    def sees(self, replicas: int, sentinels: int) -> bool:
        """Whether it knows so many replicas and other Sentinels."""
        try:
            return (
                len(self.ask("REPLICAS", self.name)) == replicas
                and len(self.ask("SENTINELS", self.name)) == sentinels
            )
        except redis.RedisError:
            return False

    def _is_ready(self) -> bool:
        try:
            return bool(self.ask("GET-MASTER-ADDR-BY-NAME", self.name))
        except redis.RedisError:
            return False


@contextlib.contextmanager
def sentinel_set(
    flavour: Flavour, folder: Path, lines: Sequence[str] = (), name: str = "fleet"
) -> Iterator[SentinelSet]:
    """Run a primary, a replica and three Sentinels that know each other."""
    with contextlib.ExitStack() as stack:
        primary = stack.enter_context(redis_server(flavour, folder / "server-0", lines))
        follows = f"replicaof {HOST} {primary.port}"
        other = stack.enter_context(redis_server(flavour, folder / "server-1", (*lines, follows)))
        made = [Sentinel(flavour, folder / f"sentinel-{n}", name, primary) for n in range(3)]
        for each in made:
            each.start()
            stack.callback(each.server.kill)
        for each in made:
            each.server.wait_until(partial(each.sees, 1, 2))
        yield SentinelSet(name, (primary, other), tuple(made))
