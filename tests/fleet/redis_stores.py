"""Valkey and Redis as the shared store of a fleet: rows and faults, by the commands of both."""

import contextlib
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from postfix_mta_sts.store.fleet.engine import Kind, Name
from tests.fleet.redis_servers import (
    HOST,
    TLS_LINES,
    Flavour,
    RedisServer,
    SentinelSet,
    sentinel_set,
)
from tests.fleet.stores import (
    LATENCY,
    PREFIX,
    Late,
    Rows,
    SharedStore,
    full,
    keys,
    secret,
    small_disk,
)
from tests.fleet.wire import Wire, wire
from tests.support.ports import free_port
from tests.support.tls import Authority

USER: Final = "mta_sts"
DISK: Final = "64m"


FAULTS: Final = (
    "hangs",
    "killed",
    "refuses",
    "wrong password",
    "read-only",
    "emptied",
    "out of memory",
    "disk full",
    "late",
    "restarts",
)


SENTINEL_FAULTS: Final = ("fails over", "Sentinels hang")
ASKED: Final = f"{PREFIX}:asked:{{uses}}"
DUE: Final = f"{PREFIX}:due:{{uses}}"
_DOCUMENT: Final = Path(__file__).parents[2] / "docs/fleet.md"


class _Rows(SharedStore):
    """What all stores of this kind have in common."""

    def __init__(self, name: str, url: str, folder: Path, password: str) -> None:
        """`url`: by which relays reach it; `RedisStore` has another one over a wire."""
        self.name = name
        key_file, self.keyring = keys(folder)
        self.section = {
            "url": url,
            "password_file": str(secret(folder / "password", password)),
            "key_file": str(key_file),
            "prefix": PREFIX,
        }
        self.over_wire = self.section
        self.late: Late | None = None
        self.over_tls = {}

    def primary(self) -> RedisServer:
        """The server that has the rows now."""
        raise NotImplementedError

    async def now(self) -> int:
        """Its time."""
        seconds, microseconds = self.primary().admin("TIME")
        return int(seconds) * 1_000_000 + int(microseconds)

    async def calls(self) -> int:
        """Commands, also those of scripts."""
        return int(self.primary().admin("INFO", "stats")["total_commands_processed"])

    async def size(self) -> int:
        """Bytes of memory."""
        return int(self.primary().admin("INFO", "memory")["used_memory"])

    def pid(self) -> int:
        """Its process."""
        return self.primary().server.pid

    async def rows(self) -> Rows:
        """All records."""
        found: dict[Name, bytes] = {}
        server = self.primary()
        for key in server.admin("KEYS", f"{PREFIX}:*:{{*}}"):
            _, kind, name = key.decode().split(":", 2)
            if kind in set(Kind) and (record := server.admin("GET", key)) is not None:
                found[Name(Kind(kind), name[1:-1])] = record
        return found

    async def write(self, rows: Rows) -> None:
        """Put records there, for an hour."""
        for name, record in rows.items():
            key = f"{PREFIX}:{name.kind}:{{{name.key}}}"
            self.primary().admin("SET", key, record, "EX", 3600)

    async def asked_at(self, domain: str) -> int:
        """A score, if there is one."""
        return int(float(self.primary().admin("ZSCORE", ASKED, domain) or 0))

    async def due_at(self, domain: str) -> int:
        """The same."""
        return int(float(self.primary().admin("ZSCORE", DUE, domain) or 0))

    async def put_uses(self, domain: str, asked_at: int, due_at: int) -> None:
        """Both scores."""
        self.primary().admin("ZADD", ASKED, asked_at, domain)
        self.primary().admin("ZADD", DUE, due_at, domain)

    async def clear(self) -> None:
        """Remove everything."""
        self.primary().admin("FLUSHALL")


class RedisStore(_Rows):
    """One Valkey or Redis, which relays reach over a wire."""

    def __init__(
        self,
        name: str,
        server: RedisServer,
        way: Wire,
        folder: Path,
        password: str,
        ca_file: Path,
    ) -> None:
        super().__init__(name, _url(server.port), folder, password)
        self.over_wire = {**self.section, "url": _url(way.port)}
        self.late = way.late
        over_tls = _url(server.tls_port, "rediss")
        self.over_tls = {**self.section, "url": over_tls, "ca_file": str(ca_file)}
        self._server = server
        self._password = password
        ways = (
            self._hanging,
            self._killed,
            way.closed,
            self._locked,
            self._read_only,
            self._emptied,
            self._out_of_memory,
            self._full,
            lambda: way.late(LATENCY),
            self._restarted,
        )
        self.faults = dict(zip(FAULTS, ways, strict=True))

    def primary(self) -> RedisServer:
        """The server."""
        return self._server

    @contextlib.contextmanager
    def _hanging(self) -> Iterator[None]:
        self._server.server.pause()
        try:
            yield
        finally:
            self._server.server.go_on()

    @contextlib.contextmanager
    def _killed(self) -> Iterator[None]:
        self._server.server.kill()
        try:
            yield
        finally:
            self._server.start()

    @contextlib.contextmanager
    def _restarted(self) -> Iterator[None]:
        self._server.restart()
        yield

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self._set_password("another")
        try:
            yield
        finally:
            self._set_password(self._password)

    def _set_password(self, password: str) -> None:
        self._server.admin("ACL", "SETUSER", USER, "resetpass", f">{password}")
        self._server.admin("CLIENT", "KILL", "USER", USER)

    @contextlib.contextmanager
    def _read_only(self) -> Iterator[None]:
        self._server.admin("REPLICAOF", "127.0.0.1", 1)  # nobody is there: it keeps its rows
        try:
            yield
        finally:
            self._server.admin("REPLICAOF", "NO", "ONE")

    @contextlib.contextmanager
    def _emptied(self) -> Iterator[None]:
        self._server.admin("FLUSHALL")
        yield

    @contextlib.contextmanager
    def _out_of_memory(self) -> Iterator[None]:
        self._server.admin("CONFIG", "SET", "maxmemory", 1)
        try:
            yield
        finally:
            self._server.admin("CONFIG", "SET", "maxmemory", 0)

    @contextlib.contextmanager
    def _full(self) -> Iterator[None]:
        """It cannot save, and refuses writes therefore (stop-writes-on-bgsave-error)."""
        self._server.admin("CONFIG", "SET", "save", "3600 1")
        with full(self._server.server.folder):
            self._save()
            assert self._saved() == "err"
            yield
        self._save()
        assert self._saved() == "ok"
        self._server.admin("CONFIG", "SET", "save", "")

    def _save(self) -> None:
        self._server.admin("BGSAVE")
        self._server.server.wait_until(lambda: not self._info("rdb_bgsave_in_progress:1"))

    def _saved(self) -> str:
        return "ok" if self._info("rdb_last_bgsave_status:ok") else "err"

    def _info(self, line: str) -> bool:
        name, _, value = line.partition(":")
        return str(self._server.admin("INFO", "persistence")[name]) == value


class WatchedStore(_Rows):
    """A primary, a replica, and the Sentinels that the relays ask for the primary."""

    def __init__(self, name: str, servers: SentinelSet, folder: Path, password: str) -> None:
        hosts = ",".join(f"127.0.0.1:{each.port}" for each in servers.sentinels)
        url = f"redis+sentinel://{USER}@{hosts}/{servers.name}"
        super().__init__(name, url, folder, password)
        self._servers = servers
        self.faults = dict(zip(SENTINEL_FAULTS, (self._failing_over, self._unwatched), strict=True))

    def primary(self) -> RedisServer:
        """The server that the Sentinels name."""
        return self._servers.primary()

    @contextlib.contextmanager
    def _failing_over(self) -> Iterator[None]:
        lost = self.primary()
        lost.server.kill()
        try:
            yield
            assert self.primary() is not lost
        finally:
            lost.server.start(lambda: True)

    @contextlib.contextmanager
    def _unwatched(self) -> Iterator[None]:
        for each in self._servers.sentinels:
            each.server.pause()
        try:
            yield
        finally:
            for each in self._servers.sentinels:
                each.server.go_on()


def _url(port: int, scheme: str = "redis") -> str:
    return f"{scheme}://{USER}@127.0.0.1:{port}/0"


def rights(password: str) -> str:
    """The user of the relays, in the words of docs/fleet.md."""
    (line,) = re.findall(rf"^user {USER} on .*$", _DOCUMENT.read_text(), re.MULTILINE)
    return str(line).replace("CHANGE-THIS", password)


@contextlib.contextmanager
def watched_store(name: str, flavour: Flavour, folder: Path) -> Iterator[WatchedStore]:
    """Run a primary, a replica and Sentinels."""
    password = secrets.token_hex(8)
    folder.mkdir(parents=True, exist_ok=True)
    with sentinel_set(flavour, folder, (rights(password),)) as servers:
        yield WatchedStore(name, servers, folder, password)


@contextlib.contextmanager
def redis_store(
    name: str, flavour: Flavour, folder: Path, disk: str = DISK
) -> Iterator[RedisStore]:
    """Run a store on a small disk of its own, and the wire to it."""
    password = secrets.token_hex(8)
    folder.mkdir(parents=True, exist_ok=True)
    with small_disk(folder / "server", disk):
        authority = Authority()
        authority.issue(addresses=(HOST,)).write(folder / "server")
        lines = (rights(password), *TLS_LINES)
        server = RedisServer(flavour, folder / "server", lines, is_tls=True)
        server.start()
        try:
            with wire(free_port(), server.port) as way:
                yield RedisStore(name, server, way, folder, password, authority.write(folder))
        finally:
            server.server.kill()
