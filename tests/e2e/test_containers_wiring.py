"""The pages for docker-mailserver, mailcow and Mailu, with a real Postfix.

Their images are not here. A Postfix of the same series, without a chroot as theirs, has the suite's
own lines of main.cf and the line of the page. The daemon has the image's listener and the
environment of the compose file. What Docker does is done by others: /etc/hosts names the daemon's
container, with an IPv6 address at which nothing listens, and queries to 127.0.0.11 are passed on.
The suite's resolver is a real unbound, at the address that the suite gives it.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.e2e import domains
from tests.e2e.daemon import PROGRAM, Daemon, running
from tests.e2e.mta import Mta
from tests.e2e.mta import mta as running_mta
from tests.e2e.namespace import Namespace, namespace
from tests.e2e.passing_on import DOCKER, passing_on
from tests.e2e.resolving import VALIDATING_DNS
from tests.e2e.resolving import resolver as running_resolver
from tests.e2e.signed import tree as signed_tree
from tests.e2e.trees import WITH_DNS
from tests.e2e.world import World
from tests.support.wirings import DOCKER_MAILSERVER, MAILCOW, PORT, WIRINGS, Wiring, lines

pytestmark = pytest.mark.timeout(600)  # the first test of a run builds

HOST: Final = "mta-sts"
NOBODY: Final = 8999
"""A port at which nothing listens."""
LATE: Final = {"daemon-hangs", "daemon-dns"}
"""What doctor finds on a machine that is so busy that nothing answers within its four seconds."""
TRIES: Final = 5
PLACES: Final = [
    (wiring, series)
    for wiring in sorted(WIRINGS, key=lambda wiring: wiring is not MAILCOW)
    for series in wiring.series
]
"""mailcow first: pytest groups tests by the position of a fixture's parameter in its list."""
RESET: Final = (
    "smtp_tls_CAfile =",
    "smtp_tls_CApath =",
    "smtp_dns_support_level =",
    "smtp_host_lookup = dns",
    "sender_dependent_default_transport_maps =",
)
"""What the Postfix of the tests has, or another suite's page has set."""
SENT: Final = ("sent", "Verified TLS connection established to mx.")
HELD: Final = ("deferred", "(Server certificate not verified)")
OUTCOMES: Final = {
    # Two domains without DANE: the second has a certificate for another name.
    "none.test": {True: SENT, False: SENT},
    "none-wrong.test": {True: HELD, False: HELD},
    # Two with DANE: no CA has signed the certificate of the first; the second has others' TLSA.
    "good.test": {True: SENT, False: HELD},
    "wrong.test": {True: HELD, False: SENT},
}
"""Domain with a policy in mode `enforce` → whether the daemon does DANE → what happens to mail."""
ROUTED: Final = {
    # The service `smtp_enforced_tls`, whose certificate check only the policy asks for.
    "none3.test": ("smtp_enforced_tls:", SENT),
    "none3-wrong.test": ("smtp_enforced_tls:", HELD),
    # A host of its own: a policy would hold the mail.
    "insecure-wrong.test": (
        "smtp:[127.0.0.12]:25",
        ("sent", "TLS connection established to 127.0.0.12["),
    ),
}
"""Domain → what mailcow's table has for the sender, and what happens to mail."""


@pytest.fixture(scope="module")
def own_namespace(part: str, trees: dict[str, Path]) -> Iterator[Namespace]:
    """A network whose programs ask Docker's name server, with the addresses of the suites'."""
    with namespace(f"mta-sts-{part}-{os.getpid()}", DOCKER) as made:
        for wiring in WIRINGS:
            if wiring.resolver:
                made.add_address(f"{wiring.resolver}/32")
        yield made


@pytest.fixture(scope="module")
def dns(
    own_namespace: Namespace,
    own_world: World,
    trees: dict[str, Path],
    folder: Path,
    logs: Path,
) -> Iterator[None]:
    """Signed zones, and the resolvers; all policies are published."""
    for domain in (*OUTCOMES, *ROUTED):
        own_world.policy(domain, "enforce")
    zones = signed_tree(domains.zones(own_world.tlsa), domains.SERVER)
    own_logs = logs / "containers-dns"
    own_logs.mkdir()
    addresses = [wiring.resolver for wiring in WIRINGS if wiring.resolver]
    place = trees[WITH_DNS.postfix]
    with (
        running_resolver(own_namespace, place, folder / "containers-dns", zones, own_logs),
        passing_on(own_namespace, VALIDATING_DNS, DOCKER, *addresses),
    ):
        yield


@pytest.fixture(scope="module")
def own_mtas(
    own_namespace: Namespace,
    own_world: World,
    trees: dict[str, Path],
    folder: Path,
    logs: Path,
) -> Iterator[dict[str, Mta]]:
    """Postfix version → one that runs as in the containers of the suites."""
    with ExitStack() as stack:
        made = {}
        for version, place in trees.items():
            root, log = folder / f"containers-{version}", logs / f"containers-postfix-{version}.log"
            own = (own_namespace, place, root, version, own_world, DOCKER, log)
            settings = ("inet_protocols = all",)
            made[version] = stack.enter_context(running_mta(*own, settings=settings))
            _contain(made[version], own_world)
        yield made


def _contain(mta: Mta, world: World) -> None:
    """Have no chroot, the name of the daemon's container, and CA certificates where images do."""
    with (mta.root / "etc/hosts").open("a") as hosts:
        hosts.write(f"::1 {HOST}\n127.0.0.1 {HOST}\n")
    certificates = mta.root / "etc/ssl/certs"
    certificates.mkdir(parents=True, exist_ok=True)
    for name in ("ca-certificates.crt", "world.pem"):
        shutil.copy(world.ca_file, certificates / name)
    subprocess.run(["openssl", "rehash", certificates], check=True, capture_output=True)
    mta.run("postconf", "-F", "*/*/chroot=n")


@dataclass(frozen=True, slots=True)
class Place:
    """A suite as it is after its page."""

    wiring: Wiring
    series: str
    mta: Mta
    daemon: Daemon


@pytest.fixture(scope="module", params=PLACES, ids=lambda each: f"{each[0].name}-{each[1]}")
def place(
    request: pytest.FixtureRequest,
    own_namespace: Namespace,
    own_world: World,
    dns: None,
    own_mtas: dict[str, Mta],
    folder: Path,
    logs: Path,
) -> Iterator[Place]:
    """Each suite with each version of Postfix, and the daemon."""
    wiring, series = request.param
    name = f"containers-{wiring.name}-{series}"
    with running(_daemon(own_namespace, own_world, wiring, folder / name, logs)) as daemon:
        mta = own_mtas[series]
        settings = (*wiring.settings, f"smtp_tls_policy_maps = {wiring.maps_for(series)}")
        mta.set(*RESET, *(_with_own_tables(mta, each) for each in settings))
        yield Place(wiring, series, mta, daemon)


def _daemon(inside: Namespace, world: World, wiring: Wiring, folder: Path, logs: Path) -> Daemon:
    settings = {
        "listen": [{"socketmap": f"0.0.0.0:{PORT}"}],  # as the image, see tests/contrib
        "https": {"ca_file": str(world.ca_file), "allow_private_addresses": True},
        "log": {"level": "debug"},
    }
    log = logs / f"{folder.name}.log"
    return Daemon(inside, folder, log, settings, environ=wiring.environment)


def _with_own_tables(mta: Mta, setting: str) -> str:
    """Return a line of main.cf with the suite's own tables, which are empty, in text files.

    Debian keeps `lmdb:` and `mysql:` in packages of their own.
    """
    setting = re.sub(r"\b(proxy:mysql|lmdb):/", "texthash:/", setting)
    for path in re.findall(r"\btexthash:/([^\s,]+)", setting):
        (mta.root / path).parent.mkdir(parents=True, exist_ok=True)
        (mta.root / path).write_text("# nothing\n")
    return setting


@pytest.mark.parametrize("domain", OUTCOMES)
def test_mail(place: Place, domain: str) -> None:
    """Mail goes as the policy demands, or DANE where the suite does it; verified, or not at all."""
    status, logged = OUTCOMES[domain][bool(place.wiring.resolver)]

    seen = place.mta.send(domain)

    assert (seen.status, seen.logged(logged)) == (status, True), seen
    assert len(seen.receipts) == (status == "sent")


def test_postfix_asks_as_the_page_does(place: Place) -> None:
    """The page's command prints what the daemon answers."""
    table = f"socketmap:inet:{HOST}:{PORT}:postfix"
    assert table in place.wiring.page.read_text("utf-8")

    said = place.mta.run("postmap", "-q", "none.test", table)
    assert said.startswith("secure match=mx.none.test")


def _enter(mta: Mta, transport: str) -> None:
    """Let mailcow's table of transports have this for the sender of the tests."""
    setting = next(each for each in MAILCOW.settings if each.startswith("sender_dependent"))
    path = setting.rpartition(":/")[2]
    (mta.root / path).write_text(f"sender@relay.test {transport}\n")
    service = "smtp_enforced_tls unix - - n - - smtp -o smtp_tls_security_level=encrypt"
    mta.run("postconf", "-M", f"smtp_enforced_tls/unix={service}")
    mta.set("smtp_tls_loglevel = 1")  # a reload


@pytest.mark.parametrize("domain", ROUTED)
@pytest.mark.parametrize("place", PLACES[:1], indirect=True, ids=["mailcow-3.10"])
def test_mailcow_transports(place: Place, domain: str) -> None:
    """Policies apply to a mailbox with enforced TLS, and not to a sender with a host of its own."""
    assert place.wiring is MAILCOW
    transport, (status, logged) = ROUTED[domain]
    _enter(place.mta, transport)

    seen = place.mta.send(domain)

    assert (seen.status, seen.logged(logged)) == (status, True), seen


@pytest.fixture
def found(place: Place, own_namespace: Namespace, tmp_path: Path) -> set[str]:
    """What doctor finds, by the output of this Postfix's postconf."""
    (tmp_path / "postconf").write_text(place.mta.run("postconf", "-x"))
    words = ("doctor", "--json", "--main-cf", tmp_path / "postconf")
    command = own_namespace.command(PROGRAM, *words, "--config", place.daemon.config)
    environment = os.environ | place.wiring.environment

    def ask() -> set[str]:
        said = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
        return {each["id"] for each in json.loads(said.stdout)["findings"]}

    answers = (ask() for _ in range(TRIES))
    return next((names for names in answers if not names & LATE), LATE)


def test_doctor(place: Place, found: set[str]) -> None:
    """Doctor finds no fault, and the page has each warning.

    mailcow always has the table that it warns of. Mailu's Postfix is older than 3.10.
    """
    is_plain = (place.series, place.wiring.series[place.series]) == ("3.10", "postfix")
    expected = {"map-name-plain"} if is_plain else set()
    if place.wiring is MAILCOW:
        expected.add("sender-relayhost")
    assert found == expected
    page = place.wiring.page.read_text("utf-8")
    assert all(f"`{name}`" in page for name in found)


@contextmanager
def _filtering(mta: Mta) -> Iterator[None]:
    """Send all mail to a server by a service such as docker-mailserver's for Amavis."""
    service = "smtp-amavis/unix"
    level = "-o smtp_tls_security_level=none -o smtp_dns_support_level=disabled"
    mta.run("postconf", "-M", f"{service}=smtp-amavis unix - - n - 2 smtp {level}")
    mta.set("content_filter = smtp-amavis:[127.0.0.11]:25")
    try:
        yield
    finally:
        mta.run("postconf", "-MX", service)
        mta.set("content_filter =")


@pytest.mark.parametrize("series", DOCKER_MAILSERVER.series)
def test_a_filter_needs_no_daemon(own_mtas: dict[str, Mta], dns: None, series: str) -> None:
    """While the daemon is stopped, mail to Amavis waits, unless the service has the page's line."""
    mta = own_mtas[series]
    (line,) = lines(DOCKER_MAILSERVER.folder / "postfix-master.cf")
    stopped = DOCKER_MAILSERVER.maps_for(series).replace(f":{PORT}:", f":{NOBODY}:")
    mta.use(stopped)
    with _filtering(mta):
        without = mta.send("none.test")
        mta.run("postconf", "-P", line)
        mta.use(stopped)  # a reload
        with_line = mta.send("none.test")

    assert (without.status, without.dsn) == ("deferred", "4.7.5"), without
    assert (with_line.status, with_line.logged("postfix/smtp")) == ("sent", True), with_line
