"""Records that no relay of the fleet has written are as though they were not there, and named."""

from collections.abc import Callable

import pytest

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.store.fleet import records
from postfix_mta_sts.store.fleet.bodies import policy_body
from postfix_mta_sts.store.fleet.engine import FUTURE, LIMITS, SECOND, Kind, Name
from postfix_mta_sts.store.fleet.envelope import seal
from postfix_mta_sts.store.fleet.keys import Keyring
from postfix_mta_sts.store.fleet.requests import (
    Claim,
    Held,
    History,
    Look,
    ReadHistory,
    Unavailable,
)
from tests.support.fleet_clients import BUDGET, GOOD, KEYS, OTHER_KEYS, Fleet, fleet
from tests.support.fleet_engine import Fault
from tests.support.states import TEXT

OTHER = Domain("other.test")
POLICY = Name(Kind.POLICY, GOOD)
HISTORY = Name(Kind.HISTORY, GOOD)


def sealed(
    world: Fleet,
    *,
    text: str = TEXT,
    domain: Domain = GOOD,
    age: float = 1.0,
    keys: Keyring | None = KEYS,
    name: Name = POLICY,
    prefix: str = "mta_sts",
) -> bytes:
    """A record of a policy."""
    order = world.database.now - round(age * SECOND)
    return seal(prefix, name, order, policy_body(domain, text, "id1", "mx9"), keys)


HOSTILE = {
    "empty": (lambda _: b"", "it does not begin with the header of a record"),
    "garbage": (lambda _: b"\xff\0$-1\r\n" * 50, "it does not begin with the header"),
    "another form": (lambda _: b"mta-sts 2 rest", "its form is number 2"),
    "unsigned": (lambda world: sealed(world, keys=None), "it is not signed"),
    "foreign key": (lambda world: sealed(world, keys=OTHER_KEYS), "it is signed with key 01020304"),
    "changed": (lambda world: sealed(world)[:-1] + b"!", "its signature is wrong"),
    "re-dated": (
        lambda w: sealed(w).replace(str(w.database.now - SECOND).encode(), b"%d" % w.database.now),
        "its signature is wrong",
    ),
    "of another name": (
        lambda w: sealed(w, domain=OTHER, name=Name(Kind.POLICY, OTHER)),
        "its signature is wrong",
    ),
    "of another kind": (lambda world: sealed(world, name=HISTORY), "its signature is wrong"),
    "of another fleet": (lambda world: sealed(world, prefix="test"), "its signature is wrong"),
    "of another domain": (lambda world: sealed(world, domain=OTHER), "its content is that of"),
    "mx hostname": (
        lambda world: sealed(world, text=TEXT.replace("mx.good.test", "hostname")),
        "policy: line 3: mx",
    ),
    "braces": (
        lambda world: sealed(world, text=TEXT.replace("mx.good.test", "{mx}.good.test")),
        "policy: line 3: mx",
    ),
    "a mebibyte": (lambda world: sealed(world) + b"x" * 2**20, "it has more than 81920 bytes"),
    "in 100 years": (
        lambda world: sealed(world, age=-100 * 365 * 86_400.0),
        "its time is 3153600000 s in the future of the store",
    ),
}


@pytest.mark.parametrize(("made", "reason"), HOSTILE.values(), ids=HOSTILE)
async def test_a_hostile_policy(
    made: Callable[[Fleet], bytes], reason: str, log_lines: Callable[[], list[str]]
) -> None:
    """It is not served, the answer and the log say why, and the next offer takes its place."""
    async with fleet() as world:
        relay = world.join()
        world.database.damage(POLICY, made(world))
        seen = await relay.look()
        assert seen.policy is None
        assert reason in seen.refused
        held = await relay.ask(Claim(GOOD, 0, 0.0, BUDGET))
        assert isinstance(held, Held)
        assert held.policy is None
        (line,) = log_lines()
        assert line.startswith(f"WARNING {GOOD}: shared record refused kind=policy reason=")
        assert reason in line
        assert await relay.offer()
        assert (await relay.look()).policy is not None


@pytest.mark.parametrize("made", [made for made, _ in HOSTILE.values()], ids=HOSTILE)
async def test_a_hostile_history(made: Callable[[Fleet], bytes]) -> None:
    """It is no history, and does not stay for good: the next offer takes its place."""
    async with fleet() as world:
        relay = world.join()
        world.database.damage(HISTORY, made(world))
        assert await relay.ask(ReadHistory(GOOD)) == History(())
        assert await relay.offer()
        found = await relay.ask(ReadHistory(GOOD))
        assert isinstance(found, History)
        assert len(found.entries) == 1


async def test_garbage_only(log_lines: Callable[[], list[str]]) -> None:
    """From a store that gives only garbage nothing is taken; each domain is named once an hour."""
    async with fleet() as world:
        relay = world.join()
        assert await relay.offer()
        assert await relay.offer(OTHER)
        world.database.fault = Fault.GARBAGE
        for _ in range(10):
            for domain in (GOOD, OTHER):
                assert (await relay.look(domain)).policy is None
        assert len(log_lines()) == 2
        await world.time.advance(3600.0)
        await relay.look()
    (line,) = log_lines()[2:]
    assert line.startswith("WARNING good.test: shared record refused kind=policy reason=")
    assert line.endswith(" count=10")


async def test_a_million_names_are_not_remembered() -> None:
    """What is known of lines in the log is bounded."""
    refusals = records.Refusals(lambda: 0.0)
    for number in range(3 * records.SAID_LIMIT):
        refusals.say(Name(Kind.POLICY, f"d{number}.test"), "reason")
    assert len(refusals._limits) == records.SAID_LIMIT


async def test_two_keys() -> None:
    """A relay that has both keys reads what either signs; one with the old key reads only its."""
    both = Keyring({**OTHER_KEYS.keys, **KEYS.keys})
    async with fleet() as world:
        old, new = world.join("mx1"), world.join("mx2", keys=both)
        assert await old.offer(age=2.0)
        assert (await new.look()).policy is not None
        assert await new.offer(age=1.0)
        assert (await new.look()).policy is not None
        seen = await old.look()
        assert seen.policy is None
        assert "not in fleet.key_file" in seen.refused
        assert await old.offer()


async def test_an_unsigned_fleet() -> None:
    """Relays without a key understand each other, and refuse what is signed."""
    async with fleet() as world:
        one, other, signed = (
            world.join("mx1", keys=None),
            world.join("mx2", keys=None),
            world.join("mx3"),
        )
        assert await one.offer(age=1.0)
        assert (await other.look()).policy is not None
        assert (await signed.look()).refused == "it is not signed"
        assert await signed.offer()
        assert "no fleet.key_file" in (await other.look()).refused


async def test_a_little_ahead() -> None:
    """A policy from less than a minute ahead, after the store has another clock, is not old."""
    async with fleet() as world:
        relay = world.join()
        world.database.damage(POLICY, sealed(world, age=-FUTURE / 2 / SECOND))
        seen = await relay.look()
        assert seen.policy is not None
        assert seen.policy.age == 0


async def test_the_clock_of_the_store_goes_back() -> None:
    """What relays have given before is in no one's way when the store is an hour younger."""
    async with fleet() as world:
        relay = world.join()
        assert await relay.offer()
        world.database.now -= 3600 * SECOND
        assert (await relay.look()).policy is None
        assert await relay.offer(policy_id="id2")
        seen = await relay.look()
        assert seen.policy is not None
        assert seen.policy.policy_id == "id2"
        found = await relay.ask(ReadHistory(GOOD))
        assert isinstance(found, History)
        assert [each.policy_id for each in found.entries] == ["id2", "id1"]


async def test_a_policy_that_others_would_refuse_is_no_error() -> None:
    """A policy of earlier rules, or too long a one, is not given, and its lease is free."""
    async with fleet() as world:
        relay = world.join()
        many = TEXT + "".join(f"mx: mx{number}.good.test\n" for number in range(300))
        for text in (many, TEXT + "note: " + "x" * LIMITS[Kind.POLICY], "version: STSv9\n"):
            held = await relay.ask(Claim(GOOD, 0, 0.0, BUDGET))
            assert isinstance(held, Held)
            assert held.token
            assert not await relay.offer(text=text, token=held.token)
        assert (await relay.look()).policy is None


async def test_text_of_an_error_is_printable() -> None:
    """What a store says of itself comes as one printable line."""
    async with fleet() as world:
        relay = world.join()
        world.database.error = "bad\nWARNING forged line \x1b[31m" + "x" * 5000
        answer = await relay.ask(Look(GOOD, BUDGET))
        assert isinstance(answer, Unavailable)
        assert answer.reason.isprintable()
        assert len(answer.reason) < 1000
