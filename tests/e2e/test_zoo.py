"""The zoo: what Postfix does with mail for each domain of `zoo/listing.py`.

`make zoo` visits all of them, a run of `make e2e` a few. Each is visited by both versions of
Postfix, with the map name for plain replies and with the one for TLS reports.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.daemon import Daemon, running
from tests.e2e.mta import Mta
from tests.e2e.namespace import Namespace
from tests.e2e.servers import DAEMON_DNS
from tests.e2e.trees import RELEASES
from tests.e2e.wires import PORT, SOCKETMAP_TCP, policy_maps
from tests.e2e.world import World
from tests.e2e.zoo.animal import Animal, Wish, mx_hosts
from tests.e2e.zoo.asking import Oracle, Said, oracle, seen_as
from tests.e2e.zoo.keeping import (
    Place,
    Seen,
    break_down,
    by_parameters,
    configure,
    deliver,
    settle,
)
from tests.e2e.zoo.kinds import BLACK_HOLE
from tests.e2e.zoo.listing import ANIMALS
from tests.e2e.zoo.table import PAGE, PLAIN, ROUNDS, TLSRPT, Row, lines, with_table
from tests.e2e.zoo.trying import HELD, MAPS, Trial, hold_trial
from tests.e2e.zoo.trying import PORT as TRIAL_PORT

pytestmark = pytest.mark.timeout(1800)

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
BY_DANE: Final[Mapping[str, set[str]]] = {"OK dane-only": {"OK dane-only", "OK dane"}}
"""Reply → replies in a trial: with a policy, only hosts that DANE protects get mail."""
WITHIN: Final = 20.0
"""Seconds of `query --smtp` with 20 black holes: ten for the look-ups, and ten for the hosts."""
NOT_ENFORCED: Final = ("testing", "none", "no-record", "null-mx", "dane-good", "dane-wrong")
"""Those of them that get no policy from the daemon, or no mail."""


@pytest.fixture(scope="module")
def zoo_daemon(own_namespace: Namespace, zoo: World, folder: Path, logs: Path) -> Iterator[Daemon]:
    """A daemon with DANE."""
    settings = _settings(zoo, PORT)
    made = Daemon(own_namespace, folder / "zoo-daemon", logs / "zoo-daemon.log", settings)
    with running(made):
        yield made


def _settings(zoo: World, port: int) -> dict[str, object]:
    return {
        "listen": [{"socketmap": f"127.0.0.1:{port}"}],
        "dns": {"nameservers": [DAEMON_DNS], "timeout": "2s"},
        "dane": {"mode": "on"},
        "https": {"ca_file": str(zoo.ca_file), "allow_private_addresses": True},
    }


@pytest.fixture(scope="module")
def oracles(
    own_namespace: Namespace, zoo_daemon: Daemon, zoo_mtas: dict[str, Mta], folder: Path
) -> Iterator[dict[str, Oracle]]:
    """Postfix version → the command that says what it will do."""
    with ExitStack() as stack:
        made = {}
        for version, mta in zoo_mtas.items():
            programs = mta.programs(folder / f"zoo-bin-{version}")
            ready = oracle(own_namespace, zoo_daemon.config, mta, programs)
            made[version] = stack.enter_context(ready)
        yield made


@dataclass(frozen=True, slots=True)
class Visit:
    """What happened to one domain in one round."""

    place: Place
    said: Said
    seen: Seen


Ledger = dict[tuple[str, str], Mapping[str, Visit]]


@pytest.fixture(scope="module", params=ROUNDS, ids="-".join)
def round_(request: pytest.FixtureRequest) -> tuple[str, str]:
    """The version of Postfix and the map name."""
    chosen: tuple[str, str] = request.param
    return chosen


@pytest.fixture(scope="module")
def ledger(animals: Sequence[Animal]) -> Iterator[Ledger]:
    """Round → what happened in it. After all rounds with all domains the table is written."""
    rounds: Ledger = {}
    yield rounds
    if len(animals) == len(ANIMALS) and rounds.keys() == set(ROUNDS):
        rows = [
            _row(each, {key: visits[each.name] for key, visits in rounds.items()})
            for each in animals
        ]
        PAGE.write_text(with_table(PAGE.read_text("utf-8"), list(lines(rows))), "utf-8")


def _row(animal: Animal, visits: Mapping[tuple[str, str], Visit]) -> Row:
    last = visits[ROUNDS[-1]]
    seen = {key: visit.seen for key, visit in visits.items()}
    return Row(animal, last.place.domain, seen, last.said.sentence)


@pytest.fixture(scope="module")
def visits(
    round_: tuple[str, str],
    animals: Sequence[Animal],
    ledger: Ledger,
    zoo: World,
    zoo_daemon: Daemon,
    zoo_mtas: dict[str, Mta],
    oracles: dict[str, Oracle],
) -> Mapping[str, Visit]:
    """Name → what happened in this round, which is also in the ledger."""
    version, map_name = round_
    mta = zoo_mtas[version]
    visits: dict[str, Visit] = {}
    for group in by_parameters(animals):
        places = [settle(zoo, each) for each in group]
        for place in places:
            break_down(zoo, place, lambda key: zoo_daemon.ask(PORT, f"postfix {key}"))
        configure(mta, policy_maps(SOCKETMAP_TCP, PORT, map_name), places)
        said = oracles[version].ask_all(places)
        seen = deliver(mta, places)
        names = {place.animal.name: place for place in places}
        visits |= {name: Visit(place, said[name], seen[name]) for name, place in names.items()}
    ledger[round_] = visits
    return visits


def test_query_says_what_postfix_does(visits: Mapping[str, Visit]) -> None:
    """The command says, before a message is sent: sent, deferred or bounced, DSN and text."""
    differing = {
        name: (visit.said.outcome or visit.said, seen_as(visit.seen))
        for name, visit in visits.items()
        if visit.said.outcome != seen_as(visit.seen)
    }

    assert not differing


def test_query_says_what_rfc_8461_wants(visits: Mapping[str, Visit]) -> None:
    """Whether a host may get the mail by the letter of RFC 8461, whatever Postfix does."""
    differing = {
        name: (visit.said.wish, wish)
        for name, visit in visits.items()
        if (wish := visit.place.animal.rfc) is not Wish.DANE and visit.said.wish is not wish
    }

    assert not differing


def test_postfix_does_as_documented(round_: tuple[str, str], visits: Mapping[str, Visit]) -> None:
    """What the documentation says of Postfix is what Postfix does here."""
    expected = dict(DOCUMENTED)
    if round_ == ("3.7", TLSRPT):
        expected |= dict.fromkeys(DOCUMENTED.keys() - set(NOT_ENFORCED), UNREADABLE)
    if round_ == ("3.10", TLSRPT):
        expected |= {"foreign": OF_310, "foreign-both": OF_310}

    for name in visits.keys() & expected.keys():
        place, seen, wanted = visits[name].place, visits[name].seen, expected[name]
        assert (seen.status, seen.dsn) == (wanted.status, wanted.dsn), (place, seen)
        assert wanted is SENT or seen.text.startswith(wanted.text), (place, seen)


@pytest.fixture(scope="module", params=[release.postfix for release in RELEASES])
def version(request: pytest.FixtureRequest) -> str:
    """Each version of Postfix."""
    chosen: str = request.param
    return chosen


@pytest.fixture(scope="module")
def trial_daemon(
    version: str,
    own_namespace: Namespace,
    zoo: World,
    oracles: dict[str, Oracle],
    folder: Path,
    logs: Path,
) -> Iterator[Daemon]:
    """A daemon in a trial, with the programs of this Postfix."""
    more = {"trial": True, "maps": MAPS, "log": {"level": "debug"}}
    name = f"trial-daemon-{version}"
    programs = oracles[version].socket.parent
    log = logs / f"{name}.log"
    made = Daemon(
        own_namespace, folder / name, log, _settings(zoo, TRIAL_PORT) | more, path=programs
    )
    with running(made):
        yield made


@pytest.fixture(scope="module")
def trial(
    version: str,
    animals: Sequence[Animal],
    zoo: World,
    zoo_mtas: dict[str, Mta],
    oracles: dict[str, Oracle],
    trial_daemon: Daemon,
) -> Trial:
    """A trial of all domains."""
    commands = replace(oracles[version], config=trial_daemon.config)
    return hold_trial(zoo, zoo_mtas[version], trial_daemon, commands, animals)


def test_the_same_mail_flows_as_without_the_daemon(trial: Trial) -> None:
    """In a trial the outcome of each message, and its DSN, is that without a policy map."""
    differing = {
        name: (seen, without)
        for name, seen in trial.seen.items()
        if (without := trial.without[name]).status != seen.status or without.dsn != seen.dsn
    }

    assert not differing


def test_no_policy_is_answered_in_a_trial(trial: Trial) -> None:
    """No map on trial has a policy in its replies, and those for DANE are as always.

    Another map has policies meanwhile, and all maps have them again afterwards.
    """
    differing = {
        name: (replies, enforced)
        for name, enforced in trial.enforced.items()
        if not (replies := trial.replies[name]) <= _on_trial(enforced)
    }

    assert not differing
    assert trial.enforced.get("expired", "OK secure").startswith("OK secure")
    assert trial.afterwards == trial.enforced


def _on_trial(reply: str) -> set[str]:
    """What may be replied in place of it; unusable TLSA records are better than none."""
    if reply.startswith("OK secure"):
        return {"NOTFOUND ", "OK dane"}
    return BY_DANE.get(reply, {reply})


def test_the_report_names_what_is_held_once_the_trial_is_off(
    version: str, trial: Trial, ledger: Ledger
) -> None:
    """Of the domains to which mail flowed in the trial exactly those to which it does not then.

    Others that it names must be held or returned then as well.
    """
    visits = ledger[version, PLAIN]
    flowed = {name for name, seen in trial.seen.items() if seen.status == "sent"}
    held = {name for name in trial.seen if visits[name].seen.status != "sent"}
    named = {name for name, entry in trial.report.items() if entry["outcome"] == HELD}

    assert named & flowed == held & flowed
    assert named <= held
    assert f"would hold mail to {len(named)} of " in trial.sentence


def test_many_black_holes_do_not_hold_the_command_up(
    zoo: World, oracles: dict[str, Oracle], zoo_mtas: dict[str, Mta]
) -> None:
    """With 20 MX hosts that do not answer it ends, and says that no host can be reached."""
    place = settle(zoo, Animal("holes", "", mx=mx_hosts(*[BLACK_HOLE] * 20)))
    configure(zoo_mtas["3.10"], policy_maps(SOCKETMAP_TCP, PORT, PLAIN), [place])

    started = time.monotonic()
    said = oracles["3.10"].ask(place.next_hop)
    took = time.monotonic() - started

    assert took < WITHIN
    assert said.outcome == Seen("deferred", "4.4.1", "connect to: Connection timed out")
    assert said.exit_code in {2, 3}
