"""PostgreSQL 15 and 17 of Debian's packages, and PgBouncer in front of one.

The role of a relay, its rights and the lines of pg_hba.conf and pgbouncer.ini are those of
docs/fleet.md, word for word.
"""

import contextlib
import enum
import fcntl
import os
import re
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import asyncpg

from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.config.store_location import EngineName, StoreLocation
from postfix_mta_sts.store.fleet.postgresql.schema import schema_sql
from postfix_mta_sts.store.fleet.settings import SharedStoreSettings
from postfix_mta_sts.values import replace
from tests.e2e.namespace import Namespace
from tests.e2e.trees import NoTreeError
from tests.fleet.servers import Server, Suite, fleet_tree
from tests.support.obstacles import cannot
from tests.support.ports import free_port
from tests.support.tls import Authority

HOST: Final = "127.0.0.1"
DATABASE: Final = "mail"
ROLE: Final = "mta_sts"
PASSWORD: Final = "CHANGE-THIS"  # noqa: S105 (of the documentation)
PREFIX: Final = "mta_sts"

_IN_USE: Final = b"FATAL:  pre-existing shared memory block"
_DOCUMENT: Final = Path(__file__).parents[2] / "docs/fleet.md"
_INITDB: Final = """\
mount --bind "$1" "$0/mnt" && exec chroot --userspec=postgres "$0" "$2" --pgdata=/mnt/data \
    --auth=trust --no-sync --wal-segsize=1 --encoding=UTF8 --locale=C.UTF-8
"""
_CONF: Final = f"""\
listen_addresses = '{HOST}'
unix_socket_directories = '/mnt'
ssl = on
ssl_cert_file = '/mnt/server.crt'
ssl_key_file = '/mnt/server.key'
dynamic_shared_memory_type = mmap
shared_buffers = 16MB
max_connections = 60
max_wal_size = 16MB
fsync = off
full_page_writes = off
log_line_prefix = '%m [%p] %q%u '
"""


class Version(enum.IntEnum):
    """The version of PostgreSQL, and the Debian release that has it."""

    P15 = 15
    P17 = 17

    @property
    def suite(self) -> Suite:
        """The Debian release that has it."""
        return Suite.BOOKWORM if self is Version.P15 else Suite.TRIXIE

    def program(self, name: str) -> str:
        """The path of a program in the tree."""
        return f"/usr/lib/postgresql/{self.value}/bin/{name}"


def documented(language: str, containing: str) -> str:
    """Return the only block of docs/fleet.md in this language that has a text.

    Without a language: the only indented line.
    """
    form = rf"(?s)^```{language}\n(.*?)^```$" if language else r"^    (\S.*)$"
    blocks = re.findall(form, _DOCUMENT.read_text(), re.MULTILINE)
    (block,) = (each for each in blocks if containing in each)
    return str(block)


class PostgresqlServer:
    """A PostgreSQL at a free port of 127.0.0.1, not started yet, without tables of ours.

    `lines` are added to its configuration.
    """

    def __init__(
        self,
        version: Version,
        folder: Path,
        lines: Sequence[str] = (),
        *,
        inside: Namespace | None = None,
    ) -> None:
        self.version = version
        self.tree = fleet_tree(version.suite)
        self.port = free_port()
        self.folder = folder
        self._lines = [f"port = {self.port}", *lines]
        subprocess.run(["cp", "--archive", str(_cluster(version)), str(folder)], check=True)
        self.authority = Authority()
        owner = (folder / "data").stat()
        for path in self.authority.issue(addresses=(HOST,)).write(folder):
            shutil.chown(path, owner.st_uid, owner.st_gid)
            path.chmod(0o600)
        words = (version.program("postgres"), "-D", "/mnt/data")
        self.server = Server(self.tree, folder, words, user="postgres", inside=inside)

    def start(self, *more: str, is_ready: Callable[[], bool] | None = None) -> None:
        """Start it, `more` are lines of its configuration for this time."""
        text = _CONF + "".join(f"{each}\n" for each in (*self._lines, *more))
        (self.folder / "data/postgresql.conf").write_text(text)
        allowed = documented("text", "scram-sha-256").replace("192.0.2.0/24", f"{HOST}/32")
        admin = f"local all all trust\nhost all postgres {HOST}/32 trust\n"
        admin += f"hostnossl all owner {HOST}/32 trust\n"
        admin += f"hostssl all +others {HOST}/32 scram-sha-256\n"
        (self.folder / "data/pg_hba.conf").write_text(admin + allowed)
        while not self._has_started(is_ready or self._is_ready):
            time.sleep(0.1)

    def _has_started(self, is_ready: Callable[[], bool]) -> bool:
        """Start it; false if processes of one that was killed have not ended yet."""
        log = self.server.folder / "log"
        old = log.stat().st_size if log.exists() else 0
        try:
            self.server.start(is_ready)
        except AssertionError:
            if _IN_USE in log.read_bytes()[old:]:
                return False
            raise
        return True

    def restart(self, *more: str) -> None:
        """End it as a power failure does, and start it."""
        self.server.kill()
        self.start(*more)

    async def admin(self, *statements: str) -> Sequence[Any]:
        """Run statements as the superuser; return the rows of the last."""
        async with self.administration() as connection:
            rows: Sequence[Any] = ()
            for statement in statements:
                rows = await connection.fetch(statement)
            return rows

    @contextlib.asynccontextmanager
    async def administration(self) -> AsyncIterator[Any]:
        """Have a connection of the superuser."""
        connection = await asyncpg.connect(
            host=HOST, port=self.port, user="postgres", database=DATABASE, ssl=False
        )
        try:
            yield connection
        finally:
            connection.terminate()

    async def empty(self) -> None:
        """Remove all rows of the fleet."""
        await self.admin("TRUNCATE mta_sts.records, mta_sts.uses, mta_sts.leases")

    def psql(self, text: str, database: str = DATABASE, user: str = "postgres") -> None:
        """Give a text to psql as docs/fleet.md does. Raises `subprocess.CalledProcessError`."""
        psql, *options, _ = documented("", "| psql").partition("| ")[2].split()
        where = ("-h", HOST, "-p", str(self.port), "-U", user, database)
        subprocess.run(
            ["chroot", str(self.tree), self.version.program(psql), *options, *where],
            input=text,
            check=True,
            text=True,
            stdout=subprocess.DEVNULL,
        )

    def prepare(self) -> None:
        """Make the database, the role and the tables as docs/fleet.md says."""
        self.psql(f"CREATE DATABASE {DATABASE};\nCREATE ROLE others;", "postgres")
        self.psql(documented("sql", "CREATE ROLE"))
        self.psql(schema_sql(PREFIX, ROLE))

    def settings(self, **changes: Any) -> SharedStoreSettings:  # noqa: ANN401 (of any field)
        """The settings of a relay, with changes to its `StoreLocation`."""
        return replace(
            settings(self.port, **{"tls": True, **changes}),
            authorities=self.authority.certificate.decode(),
        )

    def _is_ready(self) -> bool:
        words = (self.version.program("pg_isready"), "-h", HOST, "-p", str(self.port))
        asked = subprocess.run(["chroot", str(self.tree), *words], check=False, capture_output=True)
        return asked.returncode == 0


def settings(port: int, **changes: Any) -> SharedStoreSettings:  # noqa: ANN401 (of any field)
    """The settings of a relay whose store is at a port, with changes to its `StoreLocation`."""
    location = {
        "engine": EngineName.POSTGRESQL,
        "addresses": (TcpAddress(HOST, port),),
        "database": DATABASE,
        "user": ROLE,
        "password": PASSWORD,
        **changes,
    }
    return SharedStoreSettings(
        location=StoreLocation(**location),
        name="relay",
        prefix=PREFIX,
        budget=0.25,
        keyring=None,
        authorities=None,
    )


@cache
def _cluster(version: Version) -> Path:
    """The files of a new server beside its tree, made once; each server gets a copy."""
    tree = fleet_tree(version.suite)
    made = tree.with_name(f"{tree.name}-postgresql")
    with made.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            new = made.with_suffix(".new")
            shutil.rmtree(new, ignore_errors=True)
            _initialise(version, tree, new)
            new.rename(made)
    return made


def _initialise(version: Version, tree: Path, folder: Path) -> None:
    folder.mkdir(mode=0o755)
    owner = (tree / "var/lib/postgresql").stat()
    shutil.chown(folder, owner.st_uid, owner.st_gid)
    words = ("unshare", "--mount", "sh", "-c", _INITDB, str(tree), str(folder))
    subprocess.run([*words, version.program("initdb")], check=True, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def postgresql_server(
    version: Version, folder: Path, lines: Sequence[str] = (), *, inside: Namespace | None = None
) -> Iterator[PostgresqlServer]:
    """Run a PostgreSQL with the tables of a fleet."""
    made = PostgresqlServer(version, folder, lines, inside=inside)
    made.start()
    try:
        made.prepare()
        yield made
    finally:
        made.server.kill()


def running(
    version: Version, folder: Path, lines: Sequence[str] = ()
) -> Iterator[PostgresqlServer]:
    """Run one for a fixture; the test is skipped if this machine cannot."""
    if os.geteuid():
        cannot("the servers of a Debian tree need root")
    try:
        fleet_tree(version.suite)
    except NoTreeError as error:
        cannot(str(error))
    with postgresql_server(version, folder, lines) as made:
        yield made


class PgBouncer:
    """PgBouncer in transaction mode before a PostgreSQL, not started yet."""

    def __init__(
        self,
        folder: Path,
        postgresql: PostgresqlServer,
        lines: Sequence[str] = (),
        *,
        inside: Namespace | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        block = documented("ini", "pool_mode").replace("192.0.2.10", HOST)
        text = block.replace("5432", str(postgresql.port)).replace("/etc/pgbouncer", "/mnt")
        postgresql.authority.write(folder)
        own = (f"listen_addr = {HOST}", f"listen_port = {self.port}", "unix_socket_dir =", *lines)
        (folder / "pgbouncer.ini").write_text(text + "".join(f"{each}\n" for each in own))
        (folder / "userlist.txt").write_text(f'"{ROLE}" "{PASSWORD}"\n')
        place = fleet_tree(Suite.BOOKWORM)
        words = ("/usr/sbin/pgbouncer", "/mnt/pgbouncer.ini")
        self.server = Server(place, folder, words, user="postgres", inside=inside)

    def start(self) -> None:
        """Start it."""
        self.server.start(lambda: "process up" in self.server.log())

    def restart(self) -> None:
        """End it as a power failure does, and start it."""
        self.server.kill()
        (self.server.folder / "log").unlink()
        self.start()

    def settings(self, **changes: Any) -> SharedStoreSettings:  # noqa: ANN401 (of any field)
        """The settings of a relay, with changes to its `StoreLocation`."""
        return settings(self.port, **changes)


@contextlib.contextmanager
def pgbouncer(
    folder: Path,
    postgresql: PostgresqlServer,
    lines: Sequence[str] = (),
    *,
    inside: Namespace | None = None,
) -> Iterator[PgBouncer]:
    """Run PgBouncer before a PostgreSQL."""
    made = PgBouncer(folder, postgresql, lines, inside=inside)
    made.start()
    try:
        yield made
    finally:
        made.server.kill()
