"""The zoo: what Postfix does with mail for each domain of `zoo/listing.py`.

`make zoo` visits all of them, a run of `make e2e` a few. Each is visited by both versions of
Postfix, with the map name for plain replies and with the one for TLS reports.
"""

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.daemon import Daemon, running
from tests.e2e.mta import Mta
from tests.e2e.mta import mta as running_mta
from tests.e2e.namespace import Namespace
from tests.e2e.servers import DAEMON_DNS, POSTFIX_DNS
from tests.e2e.trees import RELEASES
from tests.e2e.wires import PORT, SOCKETMAP_TCP, policy_maps
from tests.e2e.world import World
from tests.e2e.zoo.animal import Animal
from tests.e2e.zoo.keeping import (
    MAIN_CF,
    Place,
    Seen,
    break_down,
    configure,
    deliver,
    open_zoo,
    settle,
)
from tests.e2e.zoo.listing import ANIMALS, rotate

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

PLAIN: Final = "postfix"
TLSRPT: Final = "QUERYwithTLSRPT"

SENT: Final = Seen("sent", "2.0.0", "")
UNVERIFIED: Final = Seen("deferred", "4.7.5", "Server certificate not verified")
UNREADABLE: Final = Seen("deferred", "4.7.5", "client TLS configuration problem")
DOCUMENTED: Final[Mapping[str, Seen]] = {
    **dict.fromkeys(
        ("good", "cn-only", "wildcard", "two-bad-one-good", "testing", "none", "no-record"), SENT
    ),
    **dict.fromkeys(
        ("wrong-name", "expired", "self-signed", "no-intermediate", "dane-wrong"), UNVERIFIED
    ),
    "no-starttls": Seen("deferred", "4.7.4", "TLS is required, but was not offered by host"),
    "starttls-reset": Seen("deferred", "4.7.5", "Cannot start TLS: handshake failure"),
    "tls-1.1": Seen("deferred", "4.7.5", "Cannot start TLS: handshake failure"),
    "null-mx": Seen("bounced", "5.1.0", "Domain"),
    "dane-good": SENT,
}
"""Name → outcome and the beginning of the text, as docs/troubleshooting.md has them."""
OF_310: Final = Seen("deferred", "4.3.0", "server unavailable or unable to receive mail")
NOT_ENFORCED: Final = ("testing", "none", "no-record", "null-mx", "dane-good", "dane-wrong")
"""Those of them that get no policy from the daemon, or no mail."""


@pytest.fixture(scope="module")
def animals() -> Sequence[Animal]:
    """All domains with ZOO=all, otherwise those whose turn it is: another few in each commit."""
    if os.environ.get("ZOO") == "all":
        return ANIMALS
    count = subprocess.run(
        ["git", "rev-list", "--count", "HEAD"], check=True, capture_output=True, text=True
    )
    return rotate(int(count.stdout))


@pytest.fixture(scope="module")
def zoo(own_namespace: Namespace, own_world: World) -> World:
    """The servers, with the MX hosts of the zoo."""
    open_zoo(own_namespace, own_world)
    return own_world


@pytest.fixture(scope="module")
def zoo_daemon(own_namespace: Namespace, zoo: World, folder: Path, logs: Path) -> Iterator[Daemon]:
    """A daemon with DANE."""
    settings: dict[str, object] = {
        "listen": [{"socketmap": f"127.0.0.1:{PORT}"}],
        "dns": {"nameservers": [DAEMON_DNS], "timeout": "2s"},
        "dane": {"mode": "on"},
        "https": {"ca_file": str(zoo.ca_file), "allow_private_addresses": True},
    }
    made = Daemon(own_namespace, folder / "zoo-daemon", logs / "zoo-daemon.log", settings)
    with running(made):
        yield made


@pytest.fixture(scope="module")
def zoo_mtas(
    own_namespace: Namespace, zoo: World, trees: dict[str, Path], folder: Path, logs: Path
) -> Iterator[dict[str, Mta]]:
    """Postfix version → a running Postfix that waits for seconds only."""
    with ExitStack() as stack:
        made = {}
        for version, place in trees.items():
            root, log = folder / f"zoo-{version}", logs / f"zoo-postfix-{version}.log"
            own = (own_namespace, place, root, version, zoo, POSTFIX_DNS, log)
            made[version] = stack.enter_context(running_mta(*own, settings=MAIN_CF))
            made[version].resolve(POSTFIX_DNS, "timeout:1 attempts:1")
        yield made


Visit = tuple[Place, Seen]


@pytest.fixture(
    scope="module",
    params=product([each.postfix for each in RELEASES], [PLAIN, TLSRPT]),
    ids="-".join,
)
def round_(request: pytest.FixtureRequest) -> tuple[str, str]:
    """The version of Postfix and the map name."""
    chosen: tuple[str, str] = request.param
    return chosen


@pytest.fixture(scope="module")
def visits(
    round_: tuple[str, str],
    animals: Sequence[Animal],
    zoo: World,
    zoo_daemon: Daemon,
    zoo_mtas: dict[str, Mta],
) -> Mapping[str, Visit]:
    """Name → what happened in this round."""
    version, map_name = round_
    mta = zoo_mtas[version]
    visits: dict[str, Visit] = {}
    for is_signed in (False, True):
        places = [settle(zoo, each) for each in animals if each.signed == is_signed]
        if not places:
            continue
        for place in places:
            break_down(zoo, place, lambda key: zoo_daemon.ask(PORT, f"postfix {key}"))
        configure(mta, policy_maps(SOCKETMAP_TCP, PORT, map_name), places, is_signed=is_signed)
        seen = deliver(mta, places)
        visits |= {place.animal.name: (place, seen[place.animal.name]) for place in places}
    return visits


def test_postfix_does_as_documented(round_: tuple[str, str], visits: Mapping[str, Visit]) -> None:
    """What the documentation says of Postfix is what Postfix does here."""
    expected = dict(DOCUMENTED)
    if round_ == ("3.7", TLSRPT):
        expected |= dict.fromkeys(DOCUMENTED.keys() - set(NOT_ENFORCED), UNREADABLE)
    if round_ == ("3.10", TLSRPT):
        expected |= {"foreign": OF_310, "foreign-both": OF_310}

    for name in visits.keys() & expected.keys():
        place, seen = visits[name]
        wanted = expected[name]
        assert (seen.status, seen.dsn) == (wanted.status, wanted.dsn), (place, seen)
        assert wanted is SENT or seen.text.startswith(wanted.text), (place, seen)
