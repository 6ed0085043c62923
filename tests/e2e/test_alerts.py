"""Alerts: a weakening of a domain arrives in an administrator's mailbox."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.daemon import Daemon, running
from tests.e2e.mta import Mta
from tests.e2e.namespace import Namespace
from tests.e2e.office import Office, office
from tests.e2e.trees import RELEASES
from tests.e2e.world import World

pytestmark = pytest.mark.timeout(300)

PORT: Final = 8495
MAILBOX: Final = "postmaster@alerts.test"


@pytest.fixture
def here(
    inside: Namespace,
    mtas: Mapping[str, Mta],
    settings: dict[str, object],
    world: World,
    folder: Path,
    logs: Path,
) -> Iterator[Office]:
    """A Postfix, and a daemon that sends alerts by it as docs/alerts.md says."""
    mta = mtas[RELEASES[-1].postfix]
    programs = mta.programs(folder / "alerts-bin")
    mail = rf'(printf "Subject: MTA-STS\n\n"; cat) | {programs / "sendmail"} -i {MAILBOX}'
    own_settings = settings | {
        "listen": [{"socketmap": f"127.0.0.1:{PORT}"}],
        "alerts": {"command": ["/bin/sh", "-c", mail]},
    }
    with (
        running(
            Daemon(inside, folder / "alerts", logs / "daemon-alerts.log", own_settings)
        ) as made,
        office(inside, mta, made, PORT, programs, world) as ready,
    ):
        yield ready


def test_a_weakening_arrives_as_mail(here: Office) -> None:
    """A policy that leaves mode enforce is a message, sent by `sendmail` from `alerts.command`."""
    here.world.mail_host(MAILBOX.partition("@")[2], "good")
    domain = here.world.fresh("weak")
    here.world.policy(domain, "enforce")
    assert here.reply(domain).startswith("OK secure")

    mark = here.mta.log.mark
    here.world.policy(domain, "testing", policy_id="2")
    here.run("policy", "refresh", domain)
    seen = here.mta.outcome(MAILBOX, mark)

    assert seen.status == "sent"
    ((header, _, event),) = [receipt.text.partition("\r\n\r\n") for receipt in seen.receipts]
    assert "Subject: MTA-STS" in header
    told = json.loads(event)
    assert (told["domain"], told["kind"], told["after"]) == (domain, "mode", "testing")
    assert domain in here.run("policy", "history", "--weaker", "--since", "1d")
