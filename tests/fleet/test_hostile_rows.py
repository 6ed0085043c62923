"""A store that lies: garbage and forgeries, written by anybody with access to it.

Named after the attacks. Each row is written past the relays, under the name of a policy.
"""

import os
from collections.abc import Callable, Mapping
from typing import Final

import pytest

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.store.fleet.bodies import policy_body
from postfix_mta_sts.store.fleet.engine import Kind, Name
from postfix_mta_sts.store.fleet.keys import Keyring
from tests.fleet.forger import Forger
from tests.fleet.relays import Fleet, joined, secure
from tests.fleet.stores import SharedStore
from tests.fleet.world import World
from tests.support.policy_host import policy_text

pytestmark = pytest.mark.timeout(300)

NOT_FOUND: Final = "NOTFOUND "
CENTURY: Final = 100 * 365 * 86_400 * 1_000_000
"""In microseconds."""

FORGERIES: Final[Mapping[str, Callable[[Forger], bytes]]] = {
    "nothing": lambda _: b"",
    "garbage": lambda _: bytes(range(256)) * 4,
    "a megabyte": lambda forger: forger.signed() + b"x" * 2**20,
    "a megabyte of garbage": lambda _: os.urandom(2**20),
    "not signed": lambda forger: forger.with_key(None),
    "another key": lambda forger: forger.with_key(Keyring({"0badf00d": bytes(32)})),
    "the id of the key, and another key": lambda forger: forger.with_key(
        Keyring(dict.fromkeys(forger._keyring.keys, bytes(32)))
    ),
    "changed": lambda forger: forger.signed().replace(b"mx1.", b"mx9."),
    "with another date": lambda forger: forger.signed().replace(
        b"%d" % forger.now, b"%d" % (forger.now + 1)
    ),
    "of another domain": lambda forger: forger.of(Name(Kind.POLICY, "other.test")),
    "of another kind": lambda forger: forger.of(Name(Kind.HISTORY, forger.name.key)),
    "with the body of another domain": lambda forger: forger.signed(
        policy_body(Domain("other.test"), policy_text().decode(), "id1", "forger")
    ),
    "an end in a hundred years": lambda forger: forger.signed(order=forger.now + CENTURY),
    "mx: hostname": lambda forger: forger.policy("hostname"),
    "mx: braces": lambda forger: forger.policy("mx.{}.test", "}{"),
    "mx: a space and an attribute": lambda forger: forger.policy("mx1.test servername=evil.test"),
    "no policy": lambda forger: forger.signed(forger.body(b"<html>")),
    "a bad id": lambda forger: forger.signed(forger.body(policy_id="id1;\n")),
    "a relay with a hostile name": lambda forger: forger.signed(forger.body(by="\x1b[31m\n")),
    "a body that is no msgpack": lambda forger: forger.signed(b"\xc1" * 40),
    "a body of another shape": lambda forger: forger.signed(b"\x93\x01\x02\x03"),
}
SILENT: Final = {"nothing"}
"""It is as though it were not there."""


async def test_forged_rows_are_refused_and_named(
    fleet: Fleet, world: World, store: SharedStore
) -> None:
    """No forged row is served, the log names the domain, and the real policy takes its place."""
    domains = dict(zip(FORGERIES, world.domains(len(FORGERIES)), strict=True))
    world.publish(list(domains.values()), mode="")
    await store.write(await _forged(store, domains))
    relay = fleet.start("victim")
    await joined(relay, world, store)
    replies = await relay.answers(list(domains.values()))
    assert {name: replies[domain] for name, domain in domains.items()} == dict.fromkeys(
        FORGERIES, NOT_FOUND
    )
    for name in set(FORGERIES) - SILENT:
        relay.log.wait(rf"{domains[name]}: shared record refused", seconds=5)
    relay.kill()
    world.publish(list(domains.values()))
    fresh = fleet.start("second-victim")
    replies = await fresh.answers(list(domains.values()))
    assert replies == {domain: secure(domain) for domain in domains.values()}
    await store.changed("policy", list(domains.values()), b"second-victim")
    fresh.kill()


async def _forged(store: SharedStore, domains: Mapping[str, str]) -> Mapping[Name, bytes]:
    now = await store.now()
    forgers = {name: Forger(store, domain, now) for name, domain in domains.items()}
    return {forger.name: FORGERIES[name](forger) for name, forger in forgers.items()}
