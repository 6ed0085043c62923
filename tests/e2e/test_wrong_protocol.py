"""main.cf names the wrong protocol (fault D7): Postfix's own log says what to write instead."""

import pytest

from tests.e2e.daemon import Daemon
from tests.e2e.mta import Mta
from tests.e2e.wires import PORT
from tests.e2e.world import World

pytestmark = pytest.mark.timeout(600)

WRONG = {
    f"socketmap:inet:127.0.0.1:{PORT + 1}:postfix": (
        rf"warning: .*socketmap server temporary error: write tcp:127\.0\.0\.1:{PORT + 1} in main",
        "socketmap",
    ),
    f"tcp:127.0.0.1:{PORT}": (
        (
            rf"warning: read TCP map reply from \S+: malformed reply: "
            rf"write socketmap:inet:127\.0\.0\.1:{PORT}:postfix in main\.cf"
        ),
        "tcp_table",
    ),
}
"""A line of main.cf → what Postfix logs, and the protocol that it speaks then."""


@pytest.mark.parametrize("policy_maps", WRONG)
def test_postfix_says_what_to_write(
    mta: Mta, daemon: Daemon, world: World, policy_maps: str
) -> None:
    """The mail is deferred at once, not after a minute, and both logs have the reason."""
    domain = world.fresh("wrong")
    world.mail_host(domain, "good")
    logged, client = WRONG[policy_maps]
    mta.use(policy_maps)
    mark = mta.log.mark

    seen = mta.send(domain)

    assert seen.status == "deferred", seen
    mta.log.wait(logged, mark)
    tries = [line for line in mta.log.since(mark) if "TCP map reply" in line]
    assert len(tries) == (client == "tcp_table"), tries
    daemon.log.wait(rf"client speaks another protocol .* client={client} ")
