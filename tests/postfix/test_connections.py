"""Which connection is closed when there are too many, or when too much is kept for all."""

import asyncio
from collections import Counter
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.postfix.connections import KEPT_LIMIT, Connections
from postfix_mta_sts.resolver.fairness import Client, Owner

ALICE, BOB = Owner("alice"), Owner("bob")
NUMBERS = count(1)


class Fake:
    """A connection that does nothing."""

    def __init__(self, owner: Owner = ALICE) -> None:
        self.client = Client(owner, next(NUMBERS))

    def abort(self) -> None:
        """Nothing to close."""


def added(connections: Connections[Fake], *owners: Owner, idle: bool = True) -> list[Fake]:
    """Add connections, which are idle or not; none is closed for them."""
    made = [Fake(owner) for owner in owners]
    for each in made:
        assert connections.add(each) is None
        connections.set_expendable(each, is_expendable=idle)
    return made


def test_the_oldest_idle_connection_of_the_owner_with_most() -> None:
    """It is closed for a new one of any owner."""
    connections = Connections[Fake](4)
    first, _, _, _ = added(connections, ALICE, ALICE, ALICE, BOB)
    assert connections.add(Fake(BOB)) is first
    assert len(connections) == 4


def test_a_connection_that_became_idle_again_is_the_last() -> None:
    """A client that was just answered keeps its connection longer than one that was not."""
    connections = Connections[Fake](2)
    first, second = added(connections, ALICE, ALICE)
    connections.set_expendable(first, is_expendable=False)
    connections.set_expendable(first, is_expendable=True)
    assert connections.add(Fake()) is second


def test_the_newcomer_if_its_owner_has_most_and_none_is_idle() -> None:
    """No look-up of an owner is given up for another one of the same owner."""
    connections = Connections[Fake](2)
    added(connections, ALICE, ALICE, idle=False)
    newcomer = Fake(ALICE)
    assert connections.add(newcomer) is newcomer
    assert list(connections).count(newcomer) == 0


def test_a_busy_connection_of_another_owner_with_most() -> None:
    """An owner that keeps all connections busy does not shut out the others."""
    connections = Connections[Fake](3)
    first, *_ = added(connections, ALICE, ALICE, ALICE, idle=False)
    newcomer = Fake(BOB)
    assert connections.add(newcomer) is first
    assert newcomer in list(connections)


def test_no_room_at_all() -> None:
    """With a limit of 0 each newcomer is closed."""
    newcomer = Fake()
    assert Connections[Fake](0).add(newcomer) is newcomer


def test_what_is_kept_is_shared() -> None:
    """Only a connection with more than an equal share must be closed when too much is kept."""
    connections = Connections[Fake](100)
    greedy, modest, *_ = added(connections, *[ALICE] * 10)
    assert connections.keep(greedy, KEPT_LIMIT)
    assert connections.keep(modest, KEPT_LIMIT // 20)
    assert not connections.keep(greedy, KEPT_LIMIT + 1)
    assert not connections.keep(modest, KEPT_LIMIT // 10 + 1)
    assert connections.keep(greedy, KEPT_LIMIT)  # less than before
    connections.remove(greedy)
    assert connections.keep(modest, KEPT_LIMIT)
    connections.remove(modest)
    assert connections._kept == 0


def test_a_removed_connection_leaves_nothing() -> None:
    """Removed twice, or changed afterwards, it is not there."""
    connections = Connections[Fake](10)
    (gone,) = added(connections, ALICE)
    connections.keep(gone, 100)
    for _ in range(2):
        connections.remove(gone)
    connections.set_expendable(gone, is_expendable=True)
    assert connections.keep(gone, KEPT_LIMIT * 2)
    assert (len(connections), connections._kept) == (0, 0)
    assert (connections._expendable, connections._of_owner) == ({}, {})


async def test_waiting_until_all_are_gone() -> None:
    """The wait ends with the last connection."""
    connections = Connections[Fake](10)
    both = added(connections, ALICE, BOB)
    waiting = asyncio.create_task(connections.wait_until_empty())
    for each in both:
        await asyncio.sleep(0)
        assert not waiting.done()
        connections.remove(each)
    await waiting


@given(st.integers(1, 8), st.lists(st.tuples(st.integers(0, 4), st.sampled_from("aib-"))))
def test_an_owner_keeps_its_share(limit: int, steps: list[tuple[int, str]]) -> None:
    """Whatever owners do: never more than the limit, and none below its share is closed."""
    connections = Connections[Fake](limit)
    owners = [Owner(str(n)) for n in range(5)]
    for owner, what in steps:
        own = [each for each in connections if each.client.owner == owners[owner]]
        if what == "a":
            before = Counter(each.client.owner for each in connections)
            newcomer = Fake(owners[owner])
            closed = connections.add(newcomer)
            if closed and closed is not newcomer:
                assert before[closed.client.owner] >= limit / len(before)
            elif closed:
                assert before[newcomer.client.owner] == max(before.values())
        elif own and what == "-":
            connections.remove(own[0])
        elif own:
            connections.set_expendable(own[-1], is_expendable=what == "i")
        assert len(connections) <= limit
