"""What Postfix asks for U-labels: the list `tests/support/idn_names.json` is still true (C9)."""

import re
from collections.abc import Iterator

import pytest

from tests.e2e.mta import Mta
from tests.e2e.namespace import Namespace
from tests.e2e.recorder import RECORDER_DNS, RECORDER_PORT, Recorder, recorder
from tests.e2e.servers import POSTFIX_DNS
from tests.e2e.world import World
from tests.support.idn_names import NAMES, OLD_NAMES

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def recorded(mta: Mta, inside: Namespace) -> Iterator[Recorder]:
    """Each version of Postfix, with one message for all names."""
    with recorder(inside) as made:
        mta.resolve(RECORDER_DNS)
        mta.use(f"socketmap:inet:127.0.0.1:{RECORDER_PORT}:postfix")
        mark = mta.log.mark
        to = [f"n{number}@{name}.n{number}.test" for number, name in enumerate(NAMES)]
        mta.run("sendmail", "-f", "sender@relay.test", *to, text="Subject: test\n\nHello.\n")
        for number in range(len(NAMES)):
            mta.log.wait(rf"to=<n{number}@", mark)
        yield made
        mta.run("postsuper", "-d", "ALL")
        mta.resolve(POSTFIX_DNS)
        mta.set("smtp_tls_policy_maps =")


def test_delivery(wired: Mta, world: World) -> None:
    """Mail for a name that only UTS #46 allows goes out verified, over each protocol."""
    parent = world.fresh("idn")
    domain = f"xn--i-7iq.{parent}"
    world.mail_host(domain, "good")
    world.policy(domain, "enforce")

    seen = wired.send(f"I\u2764.{parent}")

    assert (seen.status, seen.tls(f"mx.{domain}")) == ("sent", "Verified"), seen


def by_number(names: list[str]) -> dict[int, str]:
    """Number → the name that was asked for, without the labels that the test adds."""
    found = (re.fullmatch(r"(.*)\.n([0-9]+)\.test", name, re.DOTALL) for name in names)
    return {int(match[2]): match[1] for match in found if match}


def test_mx(mta: Mta, recorded: Recorder) -> None:
    """Postfix looks up the MX records of the A-labels in the list, or refuses the address."""
    mx = by_number(recorded.mx)
    listed = OLD_NAMES if mta.version == "3.7" else NAMES
    seen = {name: mx.get(number, "").lower() or None for number, name in enumerate(listed)}
    assert seen == listed


def test_keys(recorded: Recorder) -> None:
    """It asks for the policy by the name as it is written, if it found MX records."""
    mx, keys = by_number(recorded.mx), by_number(recorded.keys)
    assert keys == {number: name for number, name in enumerate(NAMES) if number in mx}
