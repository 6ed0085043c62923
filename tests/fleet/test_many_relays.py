"""Many relays, many domains, half of the relays killed: each policy is fetched once."""

import asyncio
import random
from typing import Final

import pytest

from tests.fleet.engines import ENGINES, LONG
from tests.fleet.relays import Fleet, Relay, secure
from tests.fleet.stores import Note, SharedStore
from tests.fleet.world import World

pytestmark = pytest.mark.timeout(1800)

RELAYS: Final = 20 if LONG else 5
MANY: Final = 10_000
"""With so many, all are killed at the same time. What they fetch at this moment, and what others
wait for, is fetched again: some 140 fetches, which is more than 5 % of fewer domains."""
DOMAINS: Final = MANY if LONG else 300
FEWER: Final = 2_000
"""On other versions of the two engines, and before or behind something else."""
PAUSE: Final = 0.5
"""Seconds."""
EACH: Final = 3
"""Relays that are asked for a domain before the others are killed, and after it."""
CLIENTS: Final = 4
"""At each relay."""
MOST: Final = 1.05
"""Fetches per domain."""


async def test_each_policy_is_fetched_once(
    fleet: Fleet, world: World, store: SharedStore, note: Note
) -> None:
    """Half of the relays are killed and start again, some with an empty disk: <= 1.05 fetches."""
    domains = world.published(DOMAINS if store.name in ENGINES[:2] else FEWER)
    relays = fleet.start_all(*(f"r{n}" for n in range(RELAYS)))
    rng = random.Random(18)  # noqa: S311 (a seed, so that a failure can be repeated)
    victims = relays[: RELAYS // 2]

    async def kill() -> None:
        """Kill half of them while they are asked, and start them again."""
        await asyncio.sleep(PAUSE)
        for relay in victims:
            await asyncio.to_thread(relay.kill)
            await asyncio.sleep(PAUSE if len(domains) < MANY else 0.0)
        for number, relay in enumerate(victims):
            if number % 2:
                relay.forget_all()
            await asyncio.to_thread(relay.start)

    asked = _shared_out(rng, relays, domains)
    killing = asyncio.create_task(kill(), name="kill")
    await asyncio.gather(*(_ask(relay, names) for relay, names in asked.items()))
    await killing
    asked = _shared_out(rng, relays, domains)
    await asyncio.gather(*(_ask(relay, names) for relay, names in asked.items()))
    gets = world.counts(domains).gets
    fetches = sum(gets.values()) / len(domains)
    note(f"{store.name}: {RELAYS} relays, {len(domains)} domains, {fetches:.3f} fetches per domain")
    assert all(gets[domain] for domain in domains)
    assert fetches <= MOST


def _shared_out(
    rng: random.Random, relays: list[Relay], domains: list[str]
) -> dict[Relay, list[str]]:
    """Give each domain to some relays, in an order that they share: so they ask at once."""
    asked: dict[Relay, list[str]] = {relay: [] for relay in relays}
    for domain in domains:
        for relay in rng.sample(relays, EACH):
            asked[relay].append(domain)
    return asked


async def _ask(relay: Relay, domains: list[str]) -> None:
    """Ask until each domain has been answered; a relay that is killed is asked again."""
    waiting = list(domains)
    while waiting:
        try:
            replies = await relay.answers(waiting, CLIENTS)
        except (OSError, EOFError):
            await asyncio.sleep(0.1)
            continue
        wrong = [domain for domain in waiting if replies[domain] != secure(domain)]
        assert not wrong, await asyncio.to_thread(_explained, relay, wrong[0])
        return


def _explained(relay: Relay, domain: str) -> str:
    """What a relay knows of a domain: why it gave no other answer."""
    return relay.command("policy", "show", domain).stdout
