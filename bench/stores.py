"""The shared stores of a run: Valkey and PostgreSQL of Debian 13, started as by `tests/fleet`."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bench.process import BenchError
from bench.shape import Bench
from tests.e2e.trees import NoTreeError
from tests.fleet.engines import shared_store
from tests.fleet.servers import Suite, fleet_tree
from tests.fleet.stores import SharedStore

ENGINES: Final = ("valkey-8", "postgresql-17")
_DISK: Final = "3g"


def prepare() -> None:
    """Build the tree that has both, while there is a network. Raises `BenchError`."""
    if os.geteuid() != 0:
        raise BenchError("the shapes with a shared store need root")
    try:
        fleet_tree(Suite.TRIXIE)
    except NoTreeError as error:
        raise BenchError(str(error)) from error


@contextlib.contextmanager
def running_store(engine: str, bench: Bench) -> Iterator[SharedStore]:
    """Run an empty store; its disk is in memory, at most 3 GiB."""
    with (
        tempfile.TemporaryDirectory(prefix="store-", dir=bench.folder) as folder,
        shared_store(engine, Path(folder) / engine, _DISK) as store,
    ):
        yield store
