"""The image, built from the Dockerfile and run as its own user on a read-only root."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.images import Container, Images, running
from tests.e2e.namespace import Namespace
from tests.e2e.servers import DAEMON_DNS
from tests.e2e.transcript import Transcript
from tests.e2e.trees import WITH_DNS, NoTreeError
from tests.e2e.world import World
from tests.support.obstacles import cannot

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]  # the first test of a run builds

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
def container(
    root: Path,
    config: Any,  # noqa: ANN401 - JSON has any shape
    data: Path,
    own_namespace: Namespace,
    logs: Path,
) -> Iterator[Container]:
    """The daemon in a container, with DNS and CA set only by environment variables."""
    (volume,) = config["Volumes"]
    environ = {
        "POSTFIX_MTA_STS__DNS": json.dumps({"nameservers": [DAEMON_DNS]}),
        "POSTFIX_MTA_STS__LOOKUP__TIMEOUT": "50s",  # enough for a busy machine
        "POSTFIX_MTA_STS__HTTPS__CA_FILE": f"{volume}/ca.pem",
        "POSTFIX_MTA_STS__HTTPS__ALLOW_PRIVATE_ADDRESSES": "true",
    }
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

    This must be the last test, since all share one container.
    """
    assert container.stop() == 0
