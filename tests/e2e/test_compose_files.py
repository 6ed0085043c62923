"""The compose files in contrib/, read by Debian's docker-compose.

Those for a suite are merged with services like the suite's (`tests/support/wirings.py`).
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.composing import PACKAGES, BadComposeError, merged
from tests.e2e.trees import WITH_DNS, NoTreeError, extended
from tests.support.obstacles import cannot
from tests.support.wirings import MAILCOW, ROOT, WIRINGS, Wiring

pytestmark = pytest.mark.timeout(600)  # the first test of a run builds


@pytest.fixture(scope="module")
def compose_tree(trees: dict[str, Path]) -> Path:
    """A Debian with docker-compose."""
    try:
        return extended(trees[WITH_DNS.postfix], "compose", PACKAGES)
    except NoTreeError as error:
        cannot(str(error))


def _together(tree: Path, wiring: Wiring, place: Path, **variables: str) -> dict[str, Any]:
    """Merge the suite's services with our file, in a folder."""
    (place / "suite.yml").write_text(json.dumps(wiring.suite))  # JSON is YAML
    shutil.copy(wiring.folder / wiring.compose, place / "ours.yml")
    return merged(tree, place, "suite.yml", "ours.yml", variables=variables)


@pytest.mark.parametrize("wiring", WIRINGS, ids=lambda wiring: wiring.name)
def test_merged(compose_tree: Path, tmp_path: Path, wiring: Wiring) -> None:
    """The daemon is in Postfix's network, starts before it, and nothing of the suite is lost."""
    said = _together(compose_tree, wiring, tmp_path)

    services, before = said["services"], wiring.suite["services"]
    assert services.keys() == {*before, wiring.ours}
    ours, postfix = services[wiring.ours], services[wiring.postfix]
    assert ours["networks"].keys() == postfix["networks"].keys() == {wiring.network}
    waits = {*before[wiring.postfix].get("depends_on", ()), wiring.ours}
    assert postfix["depends_on"].keys() == waits
    assert postfix["depends_on"][wiring.ours]["condition"] == "service_started"
    assert ours["environment"] == wiring.environment
    (volume,) = ours["volumes"]
    assert (volume["type"], volume["source"] in said["volumes"]) == ("volume", True)
    assert "ports" not in ours


def test_mailcow_in_another_network(compose_tree: Path, tmp_path: Path) -> None:
    """The daemon asks unbound where mailcow.conf puts it."""
    said = _together(compose_tree, MAILCOW, tmp_path, IPV4_NETWORK="10.9.8")

    environment = said["services"][MAILCOW.ours]["environment"]
    assert environment["POSTFIX_MTA_STS__DNS__NAMESERVERS"] == "[10.9.8.254]"
    assert said["services"]["unbound-mailcow"]["networks"]["mailcow-network"] == {
        "ipv4_address": "10.9.8.254"
    }


def test_example_with_an_mta(compose_tree: Path, tmp_path: Path) -> None:
    """docker-compose takes contrib/docker/compose.yml, too."""
    example = ROOT / "contrib/docker/compose.yml"
    shutil.copy(example, tmp_path)

    said = merged(compose_tree, tmp_path, example.name, variables={"MTA_IMAGE": "any"})

    assert said["services"].keys() == {"mta-sts", "mta"}
    assert said["services"]["mta"]["depends_on"]["mta-sts"]["condition"] == "service_healthy"


def test_a_mistake_is_found(compose_tree: Path, tmp_path: Path) -> None:
    """docker-compose refuses a key that is mistyped."""
    (tmp_path / "wrong.yml").write_text('{"services": {"a": {"image": "a", "read-only": true}}}')

    with pytest.raises(BadComposeError, match="read-only"):
        merged(compose_tree, tmp_path, "wrong.yml")
