"""Fixtures of the session: a namespace, servers, both versions of Postfix, one daemon.

If the machine lacks something, the tests are skipped with the reason; with CI set they fail.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NoReturn

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
from tests.e2e.wires import PORT, WIRES, listeners, policy_maps
from tests.e2e.world import World
from tests.e2e.world import world as running_world

LOGS: Final = Path(__file__).parents[2] / "build/e2e"
"""The logs of the last run."""


def _cannot(why: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(f"this must run in CI, but: {why}")
    pytest.skip(why)


@pytest.fixture(scope="session")
def trees() -> dict[str, Path]:
    """Postfix version → a Debian tree with it."""
    if why := obstacle():
        _cannot(why)
    try:
        return {release.postfix: tree(release) for release in RELEASES}
    except NoTreeError as error:
        _cannot(str(error))


@pytest.fixture(scope="session")
def logs() -> Path:
    """An empty folder for the logs of this run."""
    shutil.rmtree(LOGS, ignore_errors=True)
    LOGS.mkdir(parents=True)
    return LOGS


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
