"""The files of contrib/wiring, and what is known of the mail suites that they are for.

What is said of a suite was read in its repository; docs/wiring names the versions. The images of
the suites are not here: a test has a Postfix of the same series with these settings instead.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[2]
PORT: Final = 8461
_DEFAULT: Final = re.compile(r"\$\{(\w+):-([^}]*)\}")  # compose-spec, 12-interpolation


@dataclass(frozen=True, slots=True)
class Wiring:
    """One suite, and the files for it."""

    name: str
    """Of the folder in contrib/wiring, and of the page in docs/wiring."""
    compose: str
    """The file that adds the daemon's container."""
    main_cf: str
    """The file with a line for main.cf."""
    ours: str
    """The service of the daemon."""
    postfix: str
    """The suite's service with Postfix."""
    network: str
    """The network that both are in; `default` needs no words in a compose file."""
    resolver: str
    """The address of the suite's name server; empty: it has none."""
    suite: Mapping[str, Any]
    """The parts of the suite's own compose file that ours is merged with."""
    settings: tuple[str, ...]
    """The suite's own lines of main.cf that decide how mail is sent."""
    series: Mapping[str, str]
    """A version of Postfix that a Debian has → the map name for it, on the page."""

    @property
    def folder(self) -> Path:
        """The files that a user copies."""
        return ROOT / "contrib/wiring" / self.name

    @property
    def page(self) -> Path:
        """The page for a user."""
        return ROOT / f"docs/wiring/{self.name}.md"

    @property
    def services(self) -> dict[str, Any]:
        """The services of our compose file."""
        made: dict[str, Any] = yaml.safe_load((self.folder / self.compose).read_text())["services"]
        return made

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the daemon, where the suite's own variables are not set."""
        words: dict[str, str] = self.services[self.ours]["environment"]
        return {key: _DEFAULT.sub(r"\2", value) for key, value in words.items()}

    @property
    def policy_maps(self) -> str:
        """The value of `smtp_tls_policy_maps` in our file."""
        (line,) = lines(self.folder / self.main_cf)
        name, _, value = line.partition(" = ")
        assert name == "smtp_tls_policy_maps"
        return value

    def maps_for(self, series: str) -> str:
        """The value for a version of Postfix: only the last word may differ."""
        head, _, _ = self.policy_maps.rpartition(":")
        return f"{head}:{self.series[series]}"


def lines(file: Path) -> list[str]:
    """Return the lines of a file that are neither empty nor a comment."""
    every = file.read_text().splitlines()
    return [line for line in every if line and not line.startswith("#")]


DOCKER_MAILSERVER: Final = Wiring(
    name="docker-mailserver",
    compose="compose.override.yaml",
    main_cf="postfix-main.cf",
    ours="mta-sts",
    postfix="mailserver",
    network="default",
    resolver="",
    suite={"services": {"mailserver": {"image": "suite"}}},
    settings=(
        "smtp_tls_security_level = may",
        "smtp_tls_CApath = /etc/ssl/certs",
        "smtp_tls_loglevel = 1",
    ),
    series={"3.7": "postfix", "3.10": "QUERYwithTLSRPT"},
)
_UNBOUND: Final = "${IPV4_NETWORK:-172.22.1}.254"
_TRANSPORTS: Final = (
    "proxy:mysql:/opt/postfix/conf/sql/mysql_sender_dependent_default_transport_maps.cf"
)
MAILCOW: Final = Wiring(
    name="mailcow",
    compose="docker-compose.override.yml",
    main_cf="extra.cf",
    ours="mta-sts-mailcow",
    postfix="postfix-mailcow",
    network="mailcow-network",
    resolver="172.22.1.254",
    suite={
        "services": {
            "unbound-mailcow": {
                "image": "suite",
                "networks": {"mailcow-network": {"ipv4_address": _UNBOUND}},
            },
            "postfix-tlspol-mailcow": {
                "image": "suite",
                "networks": {"mailcow-network": {"aliases": ["postfix-tlspol"]}},
            },
            "postfix-mailcow": {
                "image": "suite",
                "depends_on": {
                    "unbound-mailcow": {"condition": "service_healthy"},
                    "postfix-tlspol-mailcow": {"condition": "service_started"},
                },
                "dns": [_UNBOUND],
                "networks": {"mailcow-network": {"aliases": ["postfix"]}},
            },
        },
        "networks": {
            "mailcow-network": {
                "driver": "bridge",
                "ipam": {"config": [{"subnet": "${IPV4_NETWORK:-172.22.1}.0/24"}]},
            }
        },
    },
    settings=(
        "smtp_tls_security_level = dane",
        "smtp_dns_support_level = dnssec",
        "smtp_tls_CAfile = /etc/ssl/certs/ca-certificates.crt",
        "smtp_tls_loglevel = 1",
        f"sender_dependent_default_transport_maps = {_TRANSPORTS}",
    ),
    series={"3.10": "QUERYwithTLSRPT"},
)
MAILU: Final = Wiring(
    name="mailu",
    compose="docker-compose.override.yml",
    main_cf="postfix.cf",
    ours="mta-sts",
    postfix="smtp",
    network="default",
    resolver="192.168.203.254",
    suite={
        "services": {
            "front": {"image": "suite"},
            "resolver": {
                "image": "suite",
                "networks": {"default": {"ipv4_address": "192.168.203.254"}},
            },
            "smtp": {
                "image": "suite",
                "depends_on": ["front", "resolver"],
                "dns": ["192.168.203.254"],
            },
        },
        "networks": {"default": {"ipam": {"config": [{"subnet": "192.168.203.0/24"}]}}},
    },
    settings=(
        "smtp_tls_security_level = dane",
        "smtp_dns_support_level = dnssec",
        "smtp_host_lookup = dns",
        "smtp_tls_CApath = /etc/ssl/certs",
        "smtp_tls_loglevel = 1",
    ),
    # Its own, 3.9, is in no Debian: one that is older and one that is newer.
    series={"3.7": "postfix", "3.10": "postfix"},
)
WIRINGS: Final = (DOCKER_MAILSERVER, MAILCOW, MAILU)
