"""The image with a Postfix: mail, a newer version, and the older one again, by docs/docker.md."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from postfix_mta_sts import __version__
from tests.e2e.images import EXEC, REPLACE, Images
from tests.e2e.mta import Mta
from tests.e2e.mta import mta as running_mta
from tests.e2e.namespace import Namespace
from tests.e2e.packages import NEWER, newer
from tests.e2e.servers import POSTFIX_DNS
from tests.e2e.trees import WITH_DNS, NoTreeError
from tests.e2e.wheels import ROOT
from tests.e2e.world import World
from tests.support.obstacles import cannot

pytestmark = pytest.mark.timeout(600)  # it builds three images

DOMAIN = "example.com"
MAP = "socketmap:inet:127.0.0.1:8461:QUERYwithTLSRPT"
"""What README.md tells a Postfix 3.10 to ask."""
REPLY = f"secure match=mx.{DOMAIN} servername=hostname"


@pytest.fixture(scope="module")
def images(trees: dict[str, Path], folder: Path) -> Images:
    """A store of images that has the base."""
    try:
        made = Images(folder / "image-upgrades")
        made.base(trees[WITH_DNS.postfix])
    except NoTreeError as error:
        cannot(str(error))
    return made


@pytest.fixture(scope="module")
def postfix(
    trees: dict[str, Path], own_namespace: Namespace, own_world: World, folder: Path, logs: Path
) -> Iterator[Mta]:
    """A Postfix that asks at the port of the container."""
    version, root = WITH_DNS.postfix, folder / "image-postfix"
    own = (own_namespace, trees[version], root, version, own_world, POSTFIX_DNS)
    with running_mta(*own, logs / "image-postfix.log") as made:
        made.use(MAP)
        yield made


def test_each_version(
    images: Images,
    postfix: Mta,
    stock: Callable[[str], Path],
    own_namespace: Namespace,
    own_world: World,
    folder: Path,
    logs: Path,
) -> None:
    """Each verifies mail; the second and the third have the policy of the first in the volume."""
    own_world.policy(DOMAIN, "enforce")
    own_world.mail_host(DOMAIN, "good")
    down: tuple[str, ...] = ()
    later = newer(folder / "image-newer")
    for checkout, version in (ROOT, __version__), (later, NEWER), (ROOT, __version__):
        images.build(stock(WITH_DNS.suite), checkout)
        with images.served(own_namespace, own_world.ca_file, logs / "image-upgrades.log", REPLACE):
            said = images.said("docker exec mta-sts postfix-mta-sts version")
            assert said == f"postfix-mta-sts {version}\n"
            with own_world.without(*down):
                assert images.said(EXEC) == f"socketmap 0.0.0.0:8461: {DOMAIN}: {REPLY}\n"
            delivery = postfix.send(DOMAIN)
            assert (delivery.status, delivery.tls(f"mx.{DOMAIN}")) == ("sent", "Verified")
            assert len(delivery.receipts) == 1
            status = json.loads(images.said("docker exec mta-sts postfix-mta-sts status --json"))
            assert status["version"] == version
            assert not {"store_reading", "store_writing"} & {*status["not_working"]}
        down = ("dns", "policy host")
