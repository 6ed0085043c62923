"""What a relay says of itself, every ten seconds."""

from postfix_mta_sts.daemon.fleet.presence import COUNTED_FOR, Presence
from postfix_mta_sts.mtasts.policy import Mode
from postfix_mta_sts.store import Overview
from postfix_mta_sts.store.fleet.requests import (
    Announce,
    AnyAnswer,
    AnyRequest,
    RelayReport,
    Unavailable,
)


class Daemon:
    """What is known of it."""

    def __init__(self) -> None:
        self.waiting = 3
        self.policies = 10
        self.counts = 0

    async def overview(self) -> Overview:
        """Count them."""
        self.counts += 1
        return Overview({Mode.ENFORCE: self.policies, Mode.TESTING: 2, Mode.NONE: 0}, None)


class Setting:
    """A relay, and what it said."""

    def __init__(self, version: str = "1.2.3") -> None:
        self.daemon = Daemon()
        self.said: list[AnyRequest] = []
        self.now = 0.0
        self.presence = Presence(
            self._ask,
            self.daemon.overview,
            lambda: self.daemon.waiting,
            lambda: 7,
            version,
            lambda: self.now,
        )

    async def _ask(self, request: AnyRequest) -> AnyAnswer:
        self.said.append(request)
        return Unavailable("away")


async def test_report() -> None:
    """All policies that have not expired count, and those that the fleet lacks."""
    relay = Setting()
    await relay.presence.announce()
    assert relay.said == [Announce(RelayReport("1.2.3", 12, 3, 7))]


async def test_policies_are_counted_each_minute() -> None:
    """All else is as it is at the moment, also while the store does not answer."""
    relay = Setting()
    for _ in range(6):
        await relay.presence.announce()
        relay.now += COUNTED_FOR / 6
        relay.daemon.policies += 1
        relay.daemon.waiting += 1
    assert relay.daemon.counts == 1
    await relay.presence.announce()
    assert relay.daemon.counts == 2
    assert relay.said[-1] == Announce(RelayReport("1.2.3", 18, 9, 7))


async def test_long_version() -> None:
    """A version of a development tree is cut, as other relays refuse a long one."""
    relay = Setting("1.2.3.dev4+g0123456789abcdef0123456789abcdef")
    await relay.presence.announce()
    [said] = relay.said
    assert isinstance(said, Announce)
    assert said.report.version == "1.2.3.dev4+g0123456789abcdef0123"
