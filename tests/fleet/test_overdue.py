"""What a relay that is gone has used: another relay renews it."""

import asyncio
from pathlib import Path
from typing import Final

import pytest

from postfix_mta_sts.daemon.fleet.renewals import TAKEN_FOR, Renewals
from tests.fleet.stores import SharedStore
from tests.fleet.test_administrators import GOOD, Relay, relay_of, shared
from tests.support.daemons import RunningDaemon, secure
from tests.support.internet import internet

LONG_AGO: Final = 1_000
"""Microseconds since the epoch."""


def renewals(relay: Relay) -> Renewals:
    """What the daemon does each minute."""
    backend = relay.daemon.backend
    clock = relay.daemon.constants.clock
    made = Renewals(
        backend.fleet_calls.ask, backend.resolver, lambda _: True, clock, random=lambda: 0.0
    )
    backend.resolver.share_usage = made.note
    return made


async def test_overdue(
    store: SharedStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A policy that is overdue, and in use, is fetched by one of the relays that are left."""
    # As long as the machine is busy, the store has more time than by default.
    fleet = {**store.section, "budget": "2s"}
    async with internet(tmp_path) as net:
        net.publish(GOOD)
        async with relay_of(fleet, "mx1", net, tmp_path, capsys) as one:
            assert await RunningDaemon(one.folder).ask(GOOD) == secure(GOOD)
            await shared(one)
            of_one = renewals(one)
            await store.put_uses(GOOD, 0, await store.due_at(GOOD))
            await one.daemon.frontend.refresher.write_usage()
            await of_one.give_uses()
            assert await store.asked_at(GOOD)
        assert len(net.hosts.requests) == 1
        due_at = await store.due_at(GOOD)

        async with (
            relay_of(fleet, "mx2", net, tmp_path, capsys) as two,
            relay_of(fleet, "mx3", net, tmp_path, capsys) as three,
        ):
            await renewals(two).renew_due()
            assert len(net.hosts.requests) == 1  # it is not due

            net.publish(GOOD, policy_id="id2")
            await store.put_uses(GOOD, await store.now(), LONG_AGO)
            await asyncio.gather(*(renewals(each).renew_due() for each in (two, three)))
            assert len(net.hosts.requests) == 2
            async with asyncio.timeout(60):  # the offer is behind the end of the attempt
                while await store.due_at(GOOD) < due_at:  # noqa: ASYNC110 (no event)
                    await asyncio.sleep(0.05)

            net.publish(GOOD, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "id3")
            await store.put_uses(GOOD, await store.now(), LONG_AGO)
            await renewals(two).renew_due()
            assert len(net.hosts.requests) == 3
            left = (await store.due_at(GOOD) - await store.now()) / 1e6
            assert 0 < left <= TAKEN_FOR + 1  # no other relay tries it until then
