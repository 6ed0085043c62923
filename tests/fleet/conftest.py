"""Fixtures of the fleet's tests: a network namespace that the tests enter, and what is outside.

If the machine lacks something, the tests are skipped with the reason; with CI set they fail.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.namespace import Namespace, namespace, obstacle
from tests.e2e.trees import NoTreeError
from tests.fleet.engines import ENGINES, LONG, shared_store
from tests.fleet.folders import new_folder
from tests.fleet.outside import NAME_SERVER
from tests.fleet.relays import Fleet, fleet_of
from tests.fleet.servers import Suite, fleet_tree
from tests.fleet.space import entered
from tests.fleet.stores import Note, SharedStore
from tests.fleet.world import World
from tests.fleet.world import world as running_world
from tests.support.obstacles import cannot

LOGS: Final = Path(__file__).parents[2] / "build/fleet"
"""The logs of the last run, and the figures."""
_LONG_FILES: Final = ["test_faults.py", "test_postgresql_faults.py"]
collect_ignore: Final = [] if LONG else _LONG_FILES
"""Parts of `make fleet` that take minutes."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests of each file by store, so that each store and its relays start once.

    pytest has sorted them before, by all parameters whose scope is the file: by fault, too.
    """
    numbers = {name: number for number, name in enumerate(ENGINES)}
    places = [at for at, item in enumerate(items) if _store_of(item)]
    files = {path: at for at, path in enumerate(dict.fromkeys(items[at].path for at in places))}
    ours = sorted(
        (items[at] for at in places),
        key=lambda item: (files[item.path], numbers[_store_of(item)]),
    )
    for at, item in zip(places, ours, strict=True):
        items[at] = item


def _store_of(item: pytest.Item) -> str:
    """The parameter of the fixture `store`; empty if the test is without it."""
    callspec = getattr(item, "callspec", None)
    return str(callspec.params.get("store", "")) if callspec else ""


@pytest.fixture(scope="session")
def logs(worker_id: str) -> Path:
    """An empty folder for the logs of this run, or of this worker."""
    place = LOGS if worker_id == "master" else LOGS / worker_id
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    return place


@pytest.fixture(scope="session")
def note(logs: Path) -> Note:
    """Writes a figure down."""

    def write(line: str) -> None:
        with (logs / "figures.txt").open("a") as file:
            file.write(f"{line}\n")

    return write


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """A folder with a short name: a UNIX socket's path has 107 characters at most."""
    with tempfile.TemporaryDirectory(prefix="fleet-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture(scope="session")
def trees() -> None:
    """Build the Debian trees with the stores while there is a network."""
    if why := obstacle():
        cannot(why)
    try:
        for suite in Suite:
            fleet_tree(suite)
    except NoTreeError as error:
        cannot(str(error))


@pytest.fixture(scope="module")
def inside(trees: None) -> Iterator[Namespace]:
    """A network namespace, in which the tests of a file are themselves."""
    with namespace(f"mta-sts-fleet-{os.getpid()}", NAME_SERVER) as made, entered(made):
        yield made


@pytest.fixture(scope="module")
def place(request: pytest.FixtureRequest, folder: Path) -> Path:
    """A folder for the files of a file of tests."""
    name: str = request.module.__name__
    return new_folder(folder / name.rpartition(".test_")[2])


@pytest.fixture(scope="module")
def world(inside: Namespace, place: Path, logs: Path) -> Iterator[World]:
    """The name server and the Policy Hosts."""
    with running_world(place, logs / f"{place.name}-world.log") as made:
        yield made


@pytest.fixture(scope="module", params=ENGINES)
def store(request: pytest.FixtureRequest, inside: Namespace, place: Path) -> Iterator[SharedStore]:
    """Each store in turn."""
    name: str = request.param
    with shared_store(name, new_folder(place / name)) as made:
        yield made


@pytest.fixture(scope="module")
def patience() -> Mapping[str, object]:
    """What relays have beside the store: a longer budget than by default, for a busy machine."""
    return {"budget": "2s"}


@pytest.fixture(scope="module")
def fleet(
    inside: Namespace,
    place: Path,
    logs: Path,
    world: World,
    store: SharedStore,
    patience: Mapping[str, object],
) -> Iterator[Fleet]:
    """Starts relays that share the store."""
    section = {**store.section, **patience}
    with fleet_of(inside, place / f"{store.name}-relays", logs, world, section) as made:
        yield made
