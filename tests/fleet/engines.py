"""The engines under test, and what can go wrong with each: the parameters of the tests."""

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from tests.fleet import postgresql_stores, redis_stores
from tests.fleet.postgresql_servers import Version
from tests.fleet.redis_servers import Flavour
from tests.fleet.stores import SharedStore

LONG: Final = bool(os.environ.get("FLEET"))
"""Whether the long form runs, with all engines and faults: `make fleet`."""
SENTINEL: Final = "valkey-8-sentinel"
POOLED: Final = "pgbouncer"
ENGINES: Final = (
    "valkey-8",
    "postgresql-17",
    *(("redis-7", "postgresql-15", SENTINEL, POOLED) if LONG else ()),
)
OVER_TLS: Final = tuple(each for each in ENGINES if each not in {SENTINEL, POOLED})
"""Those that talk TLS to relays here."""


def faults_of(engine: str) -> Sequence[str]:
    """The names of what can go wrong with it."""
    if engine == SENTINEL:
        return redis_stores.SENTINEL_FAULTS
    if engine == POOLED:
        return postgresql_stores.POOLED_FAULTS
    if engine.startswith("postgresql"):
        return postgresql_stores.FAULTS
    return redis_stores.FAULTS


def shared_store(
    engine: str, folder: Path, disk: str | None = None
) -> AbstractContextManager[SharedStore]:
    """Run a store on this engine; `disk` is its size, by default a small one."""
    kind, _, version = engine.partition("-")
    if engine == SENTINEL:
        return redis_stores.watched_store(engine, Flavour.VALKEY, folder)
    if engine == POOLED:
        return postgresql_stores.postgresql_store(engine, Version.P15, folder, is_pooled=True)
    if kind == "postgresql":
        return postgresql_stores.postgresql_store(
            engine, Version(int(version)), folder, disk=disk or postgresql_stores.DISK
        )
    return redis_stores.redis_store(engine, Flavour(kind), folder, disk or redis_stores.DISK)
