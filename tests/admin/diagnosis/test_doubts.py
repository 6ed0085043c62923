"""What the verdict may leave out, as the first thing to do."""

import pytest

from postfix_mta_sts.admin.diagnosis.conclude import conclude
from postfix_mta_sts.admin.diagnosis.values import DaemonAnswer, DaemonState, PostfixHere
from postfix_mta_sts.postfix.smtp_client.values import NextHop
from postfix_mta_sts.values import replace
from tests.support.evidence import ENFORCE, evidence
from tests.support.smtp_client import NEW


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (DaemonState.DENIED, "run this command as root: the daemon may keep another policy"),
        (DaemonState.FAILED, "the daemon may keep another policy than the one"),
    ],
)
def test_a_daemon_that_does_not_say(state: DaemonState, words: str) -> None:
    """If the daemon does not say what it has, the network's answer may not be in force."""
    unknown = DaemonAnswer(state, "it is of another version; restart it")
    assert conclude(evidence(daemon=unknown)).advice[0].startswith(words)


def test_relayhost() -> None:
    """Mail that goes through a relay is not sent to the MX hosts of the domain."""
    found = evidence(main_cf=replace(NEW, relayhost="[relay.test]:587"))
    assert conclude(found).advice[0].endswith("postfix-mta-sts query '[relay.test]:587'")
    found.next_hop = NextHop("[relay.test]:587", "relay.test", 587, has_mx=False)
    assert not any("relayhost" in each for each in conclude(found).advice)


def test_an_old_daemon_that_says_its_policy() -> None:
    """A policy that the daemon has is in force, and there is no doubt."""
    unknown = DaemonAnswer(DaemonState.FAILED, "it is of another version; restart it")
    advice = conclude(evidence(daemon=unknown, cached=ENFORCE)).advice
    assert not any("another policy" in each for each in advice)


def test_postconf_that_fails() -> None:
    """A Postfix whose settings cannot be read is to be mended before the verdict counts."""
    broken = PostfixHere(None, "may", None, notes=("postconf failed: bad main.cf",))
    (advice, *_) = conclude(evidence(postfix=broken)).advice
    assert advice.startswith("postconf failed: bad main.cf: correct that first")
