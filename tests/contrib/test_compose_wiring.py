"""The files for docker-mailserver, mailcow and Mailu fit the image, the settings, and each other.

`tests/e2e` tries them with docker-compose (`test_compose_files.py`) and with a Postfix
(`test_containers_wiring.py`).
"""

import re
from typing import Final

import pytest

from postfix_mta_sts.config.settings import Settings, load
from tests.support.wirings import (
    DOCKER_MAILSERVER,
    MAILCOW,
    MAILU,
    PORT,
    ROOT,
    WIRINGS,
    Wiring,
    lines,
)

DOCKERFILE: Final = (ROOT / "Dockerfile").read_text("utf-8")
BUILT: Final = re.search(r"docker build -t (\S+) ", (ROOT / "docs/docker.md").read_text("utf-8"))

every_wiring = pytest.mark.parametrize("wiring", WIRINGS, ids=lambda wiring: wiring.name)


def test_every_folder_has_tests_and_a_page() -> None:
    """The folders of contrib/wiring are those that are tried here, and each has a page."""
    folders = {each.name for each in (ROOT / "contrib/wiring").iterdir()}
    assert folders == {wiring.name for wiring in WIRINGS}
    assert all(wiring.page.is_file() for wiring in WIRINGS)


@every_wiring
def test_image(wiring: Wiring) -> None:
    """The image is the one that docs/docker.md builds, and nobody looks for it in a registry."""
    ours = wiring.services[wiring.ours]
    assert BUILT
    assert (ours["image"], ours["pull_policy"]) == (BUILT[1], "never")


@every_wiring
def test_container_has_few_rights(wiring: Wiring) -> None:
    """It writes only to the volume of the image, has no capability, and no port of the machine."""
    ours = wiring.services[wiring.ours]
    volume = re.search(r"^VOLUME (\S+)$", DOCKERFILE, re.MULTILINE)
    assert volume
    assert [each.split(":")[1] for each in ours["volumes"]] == [volume[1]]
    assert ours["read_only"] is True
    assert ours["cap_drop"] == ["ALL"]
    assert ours["security_opt"] == ["no-new-privileges:true"]
    assert not ours.keys() & {"ports", "user", "network_mode", "privileged", "cap_add"}


@every_wiring
def test_health_is_checked_by_the_image(wiring: Wiring) -> None:
    """The image has the health check, so the container has it too; nothing waits for its result."""
    assert re.search(r"^HEALTHCHECK .*", DOCKERFILE, re.MULTILINE)
    assert "healthcheck" not in wiring.services[wiring.ours]
    waits = wiring.services[wiring.postfix]["depends_on"]
    assert waits == {wiring.ours: {"condition": "service_started"}}


@every_wiring
def test_environment(wiring: Wiring) -> None:
    """The daemon takes the variables; with the suite's resolver DANE is on, without one off."""
    settings = load(None, wiring.environment)
    assert settings.dns.nameservers == ((wiring.resolver,) if wiring.resolver else ())
    assert settings.dns.trust_ad is bool(wiring.resolver)
    assert settings.dane.mode == ("on" if wiring.resolver else "off")


@every_wiring
def test_map(wiring: Wiring) -> None:
    """The last table is the daemon's: its host, the port of the image, and a name that it knows."""
    *_, last = wiring.policy_maps.split(", ")
    kind, inet, host, port, name = last.split(":")
    assert (kind, inet, int(port)) == ("socketmap", "inet", PORT)
    assert f"EXPOSE {port}\n" in DOCKERFILE
    networks = wiring.services[wiring.ours].get("networks", {"default": {}})
    assert list(networks) == [wiring.network]
    assert host in (wiring.ours, *networks[wiring.network].get("aliases", ()))
    assert name in Settings().maps
    assert name in wiring.series.values()


@every_wiring
def test_map_name_fits_every_version(wiring: Wiring) -> None:
    """Attributes for TLS reports go only to a Postfix that knows them."""
    for series, name in wiring.series.items():
        version = tuple(map(int, series.split(".")))
        assert not Settings().maps[name].tlsrpt or version >= (3, 10)


@every_wiring
def test_page_shows_the_lines(wiring: Wiring) -> None:
    """The page has every line of the files for Postfix, and links to all files."""
    page = wiring.page.read_text("utf-8")
    shown = {line.strip() for line in page.splitlines()}
    for file in wiring.folder.iterdir():
        assert f"(../../contrib/wiring/{wiring.name}/{file.name})" in page
        if file.suffix == ".cf":
            assert set(lines(file)) <= shown


@every_wiring
def test_page_says_what_was_tried(wiring: Wiring) -> None:
    """Below its title the page says that the suite itself was not tried."""
    title, rest = wiring.page.read_text("utf-8").split("\n\n", 1)
    assert title.startswith("# ")
    assert rest.startswith("**Not tried:** ")


@every_wiring
def test_variables_of_the_page(wiring: Wiring) -> None:
    """The daemon takes every variable that the page gives a value."""
    page = wiring.page.read_text("utf-8")
    given = re.findall(r'(POSTFIX_MTA_STS__\w+): "([^"]*)"', page)
    assert given
    for name, value in given:
        load(None, {name: value})


def test_docker_mailserver_takes_the_service_line() -> None:
    """It gives `postconf -P` each line that begins with a letter or digit; blanks would not do."""
    (line,) = lines(DOCKER_MAILSERVER.folder / "postfix-master.cf")
    assert re.fullmatch(r"[0-9a-z][\w-]*/unix/\w+=", line)


def test_mailcow_keeps_the_line() -> None:
    """At each start it removes lines with the name of the host's parameter from extra.cf."""
    assert "myhostname" not in (MAILCOW.folder / MAILCOW.main_cf).read_text("utf-8")


def test_mailcow_keeps_its_own_table_in_front() -> None:
    """What is set in its user interface wins, and its own resolver is out of the map."""
    assert MAILCOW.policy_maps.startswith("proxy:mysql:")
    assert "postfix-tlspol" not in MAILCOW.policy_maps


def test_mailu_takes_the_line() -> None:
    """It gives each line to a shell in double quotes, and joins no lines."""
    text = (MAILU.folder / MAILU.main_cf).read_text("utf-8")
    assert not re.search(r'^[^#].*[$`"\\]|^\s', text, re.MULTILINE)


def test_mailu_leaves_out_its_own_daemon() -> None:
    """Neither its MTA-STS daemon nor its DANE table answers in front of this daemon."""
    assert re.findall(r"[a-z]+:", MAILU.policy_maps)[0] == "lmdb:"
    assert "mta-sts.socket" not in MAILU.policy_maps
    assert "podop" not in MAILU.policy_maps
