"""Fixtures of the session: a namespace, servers, both versions of Postfix, one daemon.

If the machine lacks something, the tests are skipped with the reason; with CI set they fail. Each
worker of pytest-xdist is a session of its own, and has all the tests of a file.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from tests.e2e import domains
from tests.e2e.daemon import Daemon, running
from tests.e2e.mta import Mta
from tests.e2e.mta import mta as running_mta
from tests.e2e.namespace import Namespace, namespace, obstacle
from tests.e2e.resolving import VALIDATING_DNS, Resolver
from tests.e2e.resolving import resolver as running_resolver
from tests.e2e.servers import DAEMON_DNS, POSTFIX_DNS
from tests.e2e.signed import tree as signed_tree
from tests.e2e.trees import RELEASES, WITH_DNS, NoTreeError, tree
from tests.e2e.turn import left_out
from tests.e2e.wheels import wheels
from tests.e2e.wires import PORT, WIRES, listeners, policy_maps
from tests.e2e.world import World
from tests.e2e.world import world as running_world
from tests.e2e.zoo.animal import Animal
from tests.e2e.zoo.keeping import ALWAYS, open_zoo, prepare
from tests.e2e.zoo.turn import chosen
from tests.support.obstacles import cannot

LOGS: Final = Path(__file__).parents[2] / "build/e2e"
"""The logs of the last run; with pytest-xdist each worker has a folder in it."""
_WAYS: Final = (
    "ansible",
    "release",
    "upgrades",
    "wiring_debian",
    "wiring_exim",
    "wiring_sendmail",
    "image_upgrades",
)
"""Ways to install the daemon and to wire it up: these tests take some minutes each."""
collect_ignore: Final = [f"test_{name}.py" for name in left_out(_WAYS)]
FIRST: Final = (
    "test_zoo",
    "test_doctor_37",
    "test_doctor_310",
    "test_package",
    "test_upgrades",
    "test_wiring_debian",
    "test_release",
    "test_ansible",
    "test_systemd",
    "test_readme",
    "test_wiring_exim",
    "test_wiring_sendmail",
    "test_restarts",
    "test_rollbacks",
    "test_ages",
    "test_sharing",
    "test_image_upgrades",
    "test_image",
    "test_many_relays",
)
"""The files that take longest, also of tests/fleet; workers that begin with them end at about the
same time."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the files; `--dist loadfile --no-loadscope-reorder` gives them out in this order."""
    order = {stem: number for number, stem in enumerate(FIRST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@pytest.fixture(scope="session")
def trees() -> dict[str, Path]:
    """Postfix version → a Debian tree with it."""
    if why := obstacle():
        cannot(why)
    try:
        return {release.postfix: tree(release) for release in RELEASES}
    except NoTreeError as error:
        cannot(str(error))


@pytest.fixture(scope="session")
def logs(testrun_uid: str, worker_id: str) -> Path:
    """An empty folder for the logs of this run, or of this worker."""
    LOGS.parent.mkdir(exist_ok=True)
    with LOGS.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        run = LOGS / testrun_uid
        if not run.exists():  # this is the first worker
            shutil.rmtree(LOGS, ignore_errors=True)
            LOGS.mkdir()
            run.touch()
    place = LOGS if worker_id == "master" else LOGS / worker_id
    place.mkdir(exist_ok=True)
    return place


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """A folder with a short name: a UNIX socket's path has 107 characters at most."""
    with tempfile.TemporaryDirectory(prefix="e2e-") as made:
        Path(made).chmod(0o755)  # the user postfix must be able to enter it
        yield Path(made)


@pytest.fixture(scope="session")
def inside(trees: dict[str, Path]) -> Iterator[Namespace]:
    """The network namespace of all servers."""
    with namespace(f"mta-sts-{os.getpid()}", DAEMON_DNS) as made:
        yield made


@pytest.fixture(scope="session")
def world(inside: Namespace, folder: Path, logs: Path) -> Iterator[World]:
    """Name servers, Policy Host and SMTP sinks."""
    with running_world(inside, folder, logs / "world.log") as made:
        yield made


@pytest.fixture(scope="session")
def stock(folder: Path) -> Callable[[str], Path]:
    """Debian release → wheels for its Python, see `wheels`; raises `NoTreeError`."""
    return cache(lambda suite: wheels(suite, folder / f"wheels-{suite}"))


@pytest.fixture(scope="module")
def part(request: pytest.FixtureRequest) -> str:
    """The name of a file of tests, for its folders and logs."""
    name: str = request.module.__name__
    return name.rpartition(".test_")[2]


@pytest.fixture(scope="module")
def own_namespace(part: str, trees: dict[str, Path]) -> Iterator[Namespace]:
    """A network namespace for a file of tests in which the daemon has its default port."""
    with namespace(f"mta-sts-{part}-{os.getpid()}", DAEMON_DNS) as made:
        yield made


@pytest.fixture(scope="module")
def own_world(part: str, own_namespace: Namespace, folder: Path, logs: Path) -> Iterator[World]:
    """Name servers, Policy Host and SMTP servers in it."""
    place = folder / f"{part}-world"
    place.mkdir()
    with running_world(own_namespace, place, logs / f"{part}-world.log") as made:
        yield made


@pytest.fixture(scope="module")
def animals(part: str, logs: Path) -> Sequence[Animal]:
    """The domains of the zoo that a file of tests visits, see `turn.chosen`."""
    visited = chosen()
    (logs / f"{part}.log").write_text(f"ZOO={','.join(each.name for each in visited)}\n")
    return visited


@pytest.fixture(scope="module")
def zoo(own_namespace: Namespace, own_world: World) -> World:
    """The servers of a file of tests, with the MX hosts of the zoo."""
    open_zoo(own_namespace, own_world)
    return own_world


@pytest.fixture(scope="module")
def zoo_mtas(
    part: str,
    own_namespace: Namespace,
    zoo: World,
    trees: dict[str, Path],
    folder: Path,
    logs: Path,
) -> Iterator[dict[str, Mta]]:
    """Postfix version → a running Postfix that waits for seconds only."""
    with ExitStack() as stack:
        made = {}
        for version, place in trees.items():
            root, log = folder / f"{part}-{version}", logs / f"{part}-postfix-{version}.log"
            own = (own_namespace, place, root, version, zoo, POSTFIX_DNS, log)
            made[version] = stack.enter_context(running_mta(*own, settings=ALWAYS))
            prepare(made[version], zoo)
        yield made


@pytest.fixture(scope="session")
def mtas(
    inside: Namespace, trees: dict[str, Path], folder: Path, world: World, logs: Path
) -> Iterator[dict[str, Mta]]:
    """Postfix version → a running Postfix."""
    with ExitStack() as stack:
        yield {
            version: stack.enter_context(
                running_mta(
                    inside,
                    place,
                    folder / version,
                    version,
                    world,
                    POSTFIX_DNS,
                    logs / f"postfix-{version}.log",
                )
            )
            for version, place in trees.items()
        }


@pytest.fixture(scope="module", params=[release.postfix for release in RELEASES])
def mta(request: pytest.FixtureRequest, mtas: dict[str, Mta]) -> Mta:
    """Each version of Postfix in turn."""
    version: str = request.param
    return mtas[version]


@pytest.fixture(scope="session")
def settings(world: World) -> dict[str, object]:
    """The settings that all daemons share."""
    return {
        "dns": {"nameservers": [DAEMON_DNS], "timeout": "2s"},
        "dane": {"mode": "off"},  # otherwise a Postfix of the machine itself decides
        "https": {"ca_file": str(world.ca_file), "allow_private_addresses": True},
        "log": {"level": "debug"},
    }


@pytest.fixture(scope="session")
def daemon(
    inside: Namespace,
    mtas: dict[str, Mta],
    settings: dict[str, object],
    folder: Path,
    logs: Path,
) -> Iterator[Daemon]:
    """The daemon that most tests share, with a listener for each protocol."""
    listen = listeners(PORT, [each.sockets for each in mtas.values()])
    made = Daemon(inside, folder / "daemon", logs / "daemon.log", settings | {"listen": listen})
    with running(made):
        yield made


@pytest.fixture(scope="module", params=WIRES)
def wired(request: pytest.FixtureRequest, mta: Mta, daemon: Daemon) -> Mta:
    """Each version of Postfix over each protocol, with plain replies."""
    mta.use(policy_maps(request.param, PORT))
    return mta


@pytest.fixture(scope="session")
def resolver(
    inside: Namespace, trees: dict[str, Path], folder: Path, world: World, logs: Path
) -> Iterator[Resolver]:
    """A validating resolver in front of the signed zones of `domains.py`."""
    zones = signed_tree(domains.zones(world.tlsa), domains.SERVER)
    world.forge(domains.FORGED)
    place = trees[WITH_DNS.postfix]
    with running_resolver(inside, place, folder / "dns", zones, logs) as made:
        yield made


@pytest.fixture(scope="module")
def signed_mta(mta: Mta, resolver: Resolver) -> Iterator[Mta]:
    """Each version of Postfix with that resolver, and without a policy map."""
    mta.resolve(VALIDATING_DNS)
    mta.set("smtp_dns_support_level = dnssec", "smtp_tls_policy_maps =")
    yield mta
    mta.resolve(POSTFIX_DNS)
    mta.set("smtp_dns_support_level =", "smtp_tls_security_level = may")
