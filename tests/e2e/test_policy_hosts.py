"""Debian's web servers as Policy Hosts: what is accepted; the table of docs/policy-hosts.md."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.conftest import LOGS
from tests.e2e.fetches import fetches
from tests.e2e.namespace import Namespace
from tests.e2e.sites import SITES
from tests.e2e.trees import WITH_DNS, extended
from tests.e2e.web_servers import PACKAGES, address, domain, web_servers
from tests.support.shapes import result

PAGE: Final = Path(__file__).parents[2] / "docs/policy-hosts.md"

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def reasons(inside: Namespace, trees: dict[str, Path], folder: Path, logs: Path) -> dict[str, str]:
    """Domain of a site → why its policy is refused; empty if it is accepted."""
    place = extended(trees[WITH_DNS.postfix], "web", PACKAGES)
    with web_servers(inside, place, folder / "web", logs) as ca_file:
        return fetches(inside, ca_file, {domain(site): address(site) for site in SITES})


def test_only_what_an_rfc_forbids_is_refused(reasons: dict[str, str]) -> None:
    """Each refusal has a sentence that forbids the policy, and nothing else is refused."""
    seen = {(s.server, s.does): reasons[domain(s)] for s in SITES}
    wrong = [s for s in SITES if bool(seen[s.server, s.does]) != bool(s.forbidden_by)]
    assert [(s.server, s.does, seen[s.server, s.does]) for s in wrong] == []


def test_the_page_has_the_table(reasons: dict[str, str]) -> None:
    """If this fails: build/e2e/policy-hosts.md has the table."""
    table = "\n".join(_table(reasons))
    (LOGS / "policy-hosts.md").write_text(f"{table}\n")
    assert table in PAGE.read_text("utf-8")


def _table(reasons: dict[str, str]) -> Iterator[str]:
    yield "| server | configuration | result | forbidden by |"
    yield "|---|---|---|---|"
    for site in SITES:
        reason = reasons[domain(site)].replace(domain(site), "DOMAIN")
        yield f"| {site.server} | {site.does} | {result(reason)} | {site.forbidden_by} |"
