"""The image, built from the Dockerfile and run as its own user on a read-only root."""

import asyncio
import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import pytest

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.store.sqlite.store import SqliteStore
from tests.e2e.images import EXEC, IMAGE, REMOVE, REPLACE, Container, Images, running
from tests.e2e.namespace import Namespace
from tests.e2e.servers import DAEMON_DNS
from tests.e2e.transcript import TIMEOUT, Transcript
from tests.e2e.trees import WITH_DNS, NoTreeError
from tests.e2e.world import World
from tests.support.obstacles import cannot
from tests.support.states import a_state

pytestmark = pytest.mark.timeout(600)  # the first test of a run builds

Running: TypeAlias = AbstractContextManager[tuple[Container, Transcript]]
Odd: TypeAlias = Callable[..., Running]

NO_IPV6 = "for each in all default lo; do echo 1 > /proc/sys/net/ipv6/conf/$each/disable_ipv6; done"
MEBIBYTE = 1 << 20
MAX_MEBIBYTES = 120
"""Mebibytes that the image may add to its base: Python, the daemon and its libraries."""


@pytest.fixture(scope="module")
def images(trees: dict[str, Path], stock: Callable[[str], Path], folder: Path) -> Images:
    """The image, built."""
    tree = trees[WITH_DNS.postfix]
    try:
        made = Images(folder / "images")
        made.base(tree)
        made.build(stock(WITH_DNS.suite))
    except NoTreeError as error:
        cannot(str(error))
    return made


@pytest.fixture(scope="module")
def config(images: Images) -> Any:  # noqa: ANN401 - JSON has any shape
    """The configuration of the image."""
    return images.config()


@pytest.fixture(scope="module")
def name(images: Images) -> str:
    """The name of a container of the image, in which nothing is changed."""
    return images.container()[0]


@pytest.fixture(scope="module")
def root(images: Images, name: str) -> Path:
    """The root of that container."""
    return Path(images.buildah("mount", name))


@pytest.fixture(scope="module")
def data(folder: Path, config: Any, own_world: World) -> Path:  # noqa: ANN401 - JSON has any shape
    """The one volume, owned by the image's user, with the CA file in it."""
    uid, gid = config["User"].split(":")
    place = folder / "image-data"
    place.mkdir(exist_ok=True)
    (place / "ca.pem").write_bytes(own_world.ca_file.read_bytes())
    subprocess.run(["chown", "--recursive", f"{uid}:{gid}", place], check=True)
    return place


@pytest.fixture(scope="module")
def environ(config: Any) -> dict[str, str]:  # noqa: ANN401 - JSON has any shape
    """DNS and CA, set by environment variables."""
    (volume,) = config["Volumes"]
    return {
        "POSTFIX_MTA_STS__DNS": json.dumps({"nameservers": [DAEMON_DNS]}),
        "POSTFIX_MTA_STS__LOOKUP__TIMEOUT": "50s",  # enough for a busy machine
        "POSTFIX_MTA_STS__HTTPS__CA_FILE": f"{volume}/ca.pem",
        "POSTFIX_MTA_STS__HTTPS__ALLOW_PRIVATE_ADDRESSES": "true",
    }


@pytest.fixture(scope="module")
def container(
    root: Path,
    config: Any,  # noqa: ANN401 - JSON has any shape
    data: Path,
    environ: dict[str, str],
    own_namespace: Namespace,
    logs: Path,
) -> Iterator[Container]:
    """The daemon in a container."""
    with running(config, root, data, environ, own_namespace, logs / "image.log") as (made, log):
        yield made
        assert_clean(log)


def assert_clean(log: Transcript) -> None:
    """Assert that the log has no error."""
    assert not [line for line in log.since(0) if "Traceback" in line or "cannot" in line]


def ask(inside: Namespace, domain: str) -> str:
    """Return the container's reply over TCP."""
    data = f"postfix {domain}".encode()
    with inside.connect("127.0.0.1", 8461) as connection:
        connection.sendall(b"%d:%b," % (len(data), data))
        return connection.recv(4096).split(b":", 1)[1].rstrip(b",").decode()


def test_user_volume_and_port(config: Any) -> None:  # noqa: ANN401 - JSON has any shape
    """The user is a number other than 0; there are one volume, one port and a health check."""
    uid, gid = config["User"].split(":")
    assert uid.isdigit()
    assert gid.isdigit()
    assert int(uid) > 0
    assert list(config["Volumes"]) == ["/var/lib/postfix-mta-sts"]
    assert list(config["ExposedPorts"]) == ["8461/tcp"]
    assert config["Healthcheck"]["Test"] == ["CMD", *config["Entrypoint"], "healthcheck"]


def test_small(root: Path, trees: dict[str, Path]) -> None:
    """It is small, and has no build tools."""
    size, base = (
        int(subprocess.run(["du", "--summarize", "--bytes", place], check=True,
                           capture_output=True, text=True).stdout.split()[0])
        for place in (root, trees[WITH_DNS.postfix])
    )  # fmt: skip
    assert (size - base) / MEBIBYTE <= MAX_MEBIBYTES
    assert not list(root.glob("opt/*/bin/pip*"))
    assert not (root / "usr/bin/gcc").exists()


def test_by_buildah_run(images: Images, name: str) -> None:
    """The image's command also works in a container of buildah, as its own user."""
    run = ("run", "--isolation=chroot", name, "--")
    assert images.buildah(*run, "id", "-u") == "8461"
    assert images.buildah(*run, "postfix-mta-sts", "version").startswith("postfix-mta-sts ")


def test_a_wrong_variable(images: Images, name: str) -> None:
    """An unknown variable is an error that names it."""
    variable = "POSTFIX_MTA_STS__HTTPS__TIMOUT"
    run = ("run", "--isolation=chroot", f"--env={variable}=30s", name, "--")
    with pytest.raises(
        NoTreeError, match=f"{variable}: https.timout: unknown key, perhaps timeout; "
    ):
        images.buildah(*run, "postfix-mta-sts", "serve")


def test_commands_of_the_page(
    images: Images, own_namespace: Namespace, own_world: World, data: Path, logs: Path
) -> None:
    """`docker run` and `docker exec` with the words of docs/docker.md; then another container.

    The second one has the policy from the volume, without a network.
    """
    own_world.policy("example.com", "enforce")
    reply = "secure match=mx.example.com servername=hostname"
    for down, last in ((), REPLACE), (("dns", "policy host"), "docker stop mta-sts"):
        with (
            images.served(own_namespace, data / "ca.pem", logs / "image-page.log", last),
            own_world.without(*down),
        ):
            assert images.said(EXEC) == f"socketmap 0.0.0.0:8461: example.com: {reply}\n"


def test_works(
    container: Container, own_namespace: Namespace, own_world: World, data: Path
) -> None:
    """With a read-only root and no capabilities, a policy is looked up and stored in the volume."""
    domain = own_world.fresh("image")
    own_world.policy(domain, "enforce")
    assert ask(own_namespace, domain) == f"OK secure match=mx.{domain} servername=hostname"
    assert (data / "policies.db").exists()
    status = Path(f"/proc/{container.pid}/status").read_text()
    assert "\nUid:\t8461\t8461\t8461\t8461\n" in status
    for each in ("CapPrm", "CapEff", "CapBnd"):
        assert f"\n{each}:\t{0:016x}\n" in status
    mounts = Path(f"/proc/{container.pid}/mounts").read_text().splitlines()
    writable = [line.split()[1] for line in mounts if line.split()[3].split(",")[0] == "rw"]
    assert writable == ["/var/lib/postfix-mta-sts", "/proc"]


def test_health(container: Container, config: Any) -> None:  # noqa: ANN401 - JSON has any shape
    """The health check of the image succeeds."""
    done = container.run(config["Healthcheck"]["Test"][1:])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "socketmap 0.0.0.0:8461: answers\n"


def test_stop(container: Container) -> None:
    """SIGTERM, the signal for a container's first process, ends it with 0.

    This must be the last test of the shared container: those below start others in its place.
    """
    assert container.stop() == 0


@pytest.fixture
def odd(
    root: Path,
    config: Any,  # noqa: ANN401 - JSON has any shape
    data: Path,
    environ: dict[str, str],
    own_namespace: Namespace,
    logs: Path,
) -> Odd:
    """Run a container on a machine that lacks something, with more options; see `running`."""

    def run(more: Mapping[str, str] = MappingProxyType({}), **how: Any) -> Running:  # noqa: ANN401 - as `running` has them
        log = logs / "image-odd.log"
        return running(config, root, data, {**environ, **more}, own_namespace, log, **how)

    return run


def test_a_read_only_volume(
    odd: Odd, data: Path, own_namespace: Namespace, own_world: World
) -> None:
    """The policies on file count; new ones are kept in memory. The log and /readyz say so."""
    stored, fresh = own_world.fresh("stored"), own_world.fresh("unstored")
    own_world.policy(fresh, "enforce")
    asyncio.run(store(data / "policies.db", Domain(stored)))
    before = sorted(data.iterdir())
    with odd({"POSTFIX_MTA_STS__METRICS__LISTEN": "localhost:9461"}, is_writable=False) as (_, log):
        with own_world.without("dns"):
            assert ask(own_namespace, stored) == "OK secure match=mx.good.test servername=hostname"
        assert ask(own_namespace, fresh) == f"OK secure match=mx.{fresh} servername=hostname"
        [line] = [each for each in log.since(0) if "store failing" in each]
        assert "operation=writing" in line
        assert "control socket unavailable" in "".join(log.since(0))
        with own_namespace.connect("127.0.0.1", 9461) as client:
            client.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.0 503 ")
    assert sorted(data.iterdir()) == before


async def store(path: Path, domain: Domain) -> None:
    """Put a policy on file, as an earlier run of the daemon does it."""
    made, now = await SqliteStore.open(path), time.time()
    await made.save(domain, a_state(now, now + 80_000.0), now)
    await made.close()


def test_a_user_that_nobody_knows(
    odd: Odd, root: Path, own_namespace: Namespace, own_world: World
) -> None:
    """`docker run --user 12345` without a volume for that user, on a machine without IPv6."""
    (root / "etc/hosts").write_text("::1 localhost\n127.0.0.1 localhost\n")
    subprocess.run(own_namespace.command("sh", "-c", NO_IPV6), check=True)
    domain = own_world.fresh("nobody")
    own_world.policy(domain, "enforce")
    listen = [{"socketmap": "localhost:8461"}, {"socketmap": "[::]:8462"}]
    with odd({"POSTFIX_MTA_STS__LISTEN": json.dumps(listen)}, user="12345:12345") as (made, log):
        assert ask(own_namespace, domain) == f"OK secure match=mx.{domain} servername=hostname"
        said = "".join(log.since(0))
        assert made.stop() == 0
    assert "listening wire=socketmap address=127.0.0.1:8461 name=localhost:8461" in said
    assert "address of a listener is not available address=[::1]:8461" in said
    assert "no client can reach a listener, IPv6 is off address=[::]:8462" in said
    assert "Traceback" not in said


def test_removed(images: Images) -> None:
    """The last commands of the page leave no container, volume or image.

    This must be the last test: those above use the image.
    """
    assert IMAGE in images.said("docker images")
    assert "policies" in images.said("docker volume ls --quiet")
    images.buildah("rm", "--all")
    with images.docker(f"set -x; {REMOVE}") as process:
        shown, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, shown
    assert images.said("docker ps --all --quiet; docker volume ls --quiet") == ""
    assert IMAGE not in images.said("docker images")
