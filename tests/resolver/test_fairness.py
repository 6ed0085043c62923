"""Shares of the attempts under way: which owner loses one, and never more than a share."""

from collections import Counter
from itertools import chain, count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.resolver.fairness import (
    CONNECTION_LIMIT,
    DAEMON,
    QUOTA,
    Client,
    Owner,
    Ranking,
    Shares,
)

ALICE, BOB, CAROL = Owner("alice"), Owner("bob"), Owner("carol")
EVE = Owner("eve", has_quota=True)
NUMBERS = count(100)
"""A different number for each connection."""


def ask(shares: Shares[str], owner: Owner, *attempts: str) -> list[str]:
    """Let an owner ask for each attempt over a new connection; return what ended."""
    return [a for attempt in attempts for a in shares.ask(attempt, Client(owner, next(NUMBERS)))]


def test_a_third_attempt_ends_the_oldest_of_the_connection() -> None:
    """A connection that goes on asking replaces its own attempts only."""
    shares = Shares[str](100)
    one, other = Client(ALICE, 1), Client(ALICE, 2)
    assert [shares.ask(a, one) for a in "ab"] == [[], []]
    assert shares.ask("c", other) == []
    assert shares.ask("d", one) == ["a"]
    assert shares.ask("e", one) == ["b"]
    assert len(shares) == 3


def test_asking_again_takes_no_room() -> None:
    """A connection that asks for its attempts again keeps both."""
    shares = Shares[str](100)
    one = Client(ALICE, 1)
    assert [shares.ask(a, one) for a in "abab"] == [[], [], [], []]
    assert shares.count(ALICE) == CONNECTION_LIMIT


@pytest.mark.parametrize("other", [Client(ALICE, 2), Client(BOB, 2), DAEMON])
def test_an_attempt_goes_on_for_others_that_asked(other: Client) -> None:
    """What one connection gives up ends only when the others have given it up, too."""
    shares = Shares[str](100)
    one = Client(ALICE, 1)
    shares.ask("a", one)
    shares.ask("a", other)
    shares.ask("b", one)
    assert shares.ask("c", one) == []
    shares.ask("d", other)
    assert shares.ask("e", other) == ([] if other is DAEMON else ["a"])


def test_an_owner_with_a_quota_replaces_its_oldest() -> None:
    """With a quarter of all attempts it gets no more, though there is room."""
    shares = Shares[str](4 * QUOTA)
    assert ask(shares, EVE, *"abcd") == []
    assert ask(shares, EVE, *"efg") == ["a", "b", "c"]
    assert ask(shares, ALICE, *"opqrstuvwxyz") == []
    assert ask(shares, EVE, "w") == ["d"]
    assert (shares.count(EVE), shares.count(ALICE)) == (QUOTA, 3 * QUOTA)


def test_joining_an_own_attempt_needs_no_quota() -> None:
    """Two connections of one owner that ask for the same domain count once."""
    shares = Shares[str](QUOTA)
    assert ask(shares, EVE, *"aaaa") == []
    assert shares.count(EVE) == 1


def test_a_small_limit_leaves_a_quota_of_one() -> None:
    """With fewer attempts than owners, each still gets one."""
    shares = Shares[str](2)
    assert ask(shares, EVE, *"ab") == ["a"]


def test_at_the_limit_whoever_has_most_loses_its_oldest() -> None:
    """The newest attempt starts, whichever client asks."""
    shares = Shares[str](4)
    ask(shares, ALICE, *"abc")
    ask(shares, BOB, "x")
    assert ask(shares, CAROL, "y") == ["a"]
    assert ask(shares, BOB, "z") == ["b"]
    assert ask(shares, BOB, "w") == ["x"]
    assert [shares.count(owner) for owner in (ALICE, BOB, CAROL)] == [1, 2, 1]


def test_at_the_limit_shared_attempts_make_no_room() -> None:
    """Those with most give up attempts until one ends."""
    shares = Shares[str](2)
    for owner in (ALICE, BOB):
        ask(shares, owner, *"ab")
    assert ask(shares, CAROL, "c") == ["a"]
    assert [shares.count(owner) for owner in (ALICE, BOB, CAROL)] == [1, 1, 1]


def test_the_daemon_has_a_share_like_others() -> None:
    """Rechecks find room when clients have taken all; they may not take all themselves."""
    shares = Shares[str](2)
    ask(shares, ALICE, *"ab")
    assert shares.ask("recheck", DAEMON) == ["a"]
    assert shares.ask("renewal", DAEMON) == ["recheck"]
    assert ask(shares, ALICE, "c") == ["b"]


def test_an_ended_attempt_leaves_nothing() -> None:
    """After the end of all attempts nobody has any, and nothing is kept."""
    shares = Shares[str](10)
    ask(shares, ALICE, *"abc")
    ask(shares, BOB, *"ab")
    for attempt in "abcx":
        shares.end(attempt)
    assert (len(shares), shares.count(ALICE), shares.count(BOB)) == (0, 0, 0)
    assert kept(shares) == 0


def test_connections_that_closed_are_not_kept() -> None:
    """A client that connects, asks and leaves without end takes no memory."""
    shares = Shares[str](10)
    for number in range(1, 1000):
        client = Client(ALICE, number)
        shares.ask("a", client)
        shares.ask("b", client)
        shares.leave(client)
    assert kept(shares) == 4
    assert ask(shares, ALICE, "a", "b") == []


def test_an_attempt_of_a_closed_connection_is_still_its_owners() -> None:
    """Postfix closes a connection while attempts run on; they count until they end."""
    shares = Shares[str](100)
    gone, other = Client(EVE, 1), Client(BOB, 2)
    shares.ask("a", gone)
    shares.ask("b", gone)
    shares.ask("b", other)
    shares.leave(gone)
    shares.leave(DAEMON)
    assert (shares.count(EVE), shares.count(BOB), len(shares)) == (1, 1, 2)


def kept(shares: Shares[str]) -> int:
    """The number of entries by which clients and owners are remembered."""
    clients = chain.from_iterable(owners.values() for owners in shares._clients.values())
    owned = sum(len(group) for group in shares._of_owner.values())
    return owned + len(shares._of_connection) + sum(len(group) for group in clients)


OWNERS = [Owner(f"uid {n}", has_quota=n % 3 == 0) for n in range(5)]
ASKS = st.tuples(st.sampled_from("aaelx"), st.integers(0, 14), st.integers(0, 14))


@given(st.integers(1, 12), st.lists(ASKS, max_size=120))
def test_nobody_below_its_share_loses_an_attempt(
    limit: int, steps: list[tuple[str, int, int]]
) -> None:
    """Whatever owners do: the limits hold, and only its own asking takes from a small owner."""
    shares = Shares[int](limit)
    under_way: set[int] = set()
    for what, number, attempt in steps:
        client = Client(OWNERS[number % 5], 1 + number)
        before = {owner: shares.count(owner) for owner in [*OWNERS, DAEMON.owner]}
        if what == "e":
            shares.end(attempt)
            under_way.discard(attempt)
        elif what == "l":
            shares.leave(client)
        else:
            ended = shares.ask(attempt, DAEMON if what == "x" else client)
            under_way = under_way - set(ended) | {attempt}
            assert attempt not in ended
            check_losers(shares, before, DAEMON.owner if what == "x" else client.owner, limit)
        check(shares, under_way, limit)


def check_losers(shares: Shares[int], before: dict[Owner, int], asking: Owner, limit: int) -> None:
    """Check that an owner that did not ask lost only what it had beyond its share."""
    share = limit / max(1, sum(had > 0 for had in before.values()))
    for owner, had in before.items():
        if owner != asking and shares.count(owner) < had:
            assert had >= share
            assert shares.count(owner) >= share - 1


def check(shares: Shares[int], under_way: set[int], limit: int) -> None:
    """Check all limits, and that the counts are right."""
    assert set(shares._clients) == under_way
    assert len(shares) <= limit
    assert all(len(group) <= CONNECTION_LIMIT for group in shares._of_connection.values())
    quota = max(1, limit // QUOTA)
    assert all(shares.count(owner) <= quota for owner in OWNERS if owner.has_quota)
    counts = Counter(owner for owners in shares._clients.values() for owner in owners)
    assert {owner: shares.count(owner) for owner in counts} == counts
    assert {owner: len(group) for owner, group in shares._of_owner.items()} == counts


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.booleans())))
def test_the_ranking_agrees_with_counting(steps: list[tuple[str, bool]]) -> None:
    """The first has most; the preferred owner is the first among equals."""
    ranking, counts = Ranking[str](), Counter[str]()
    for owner, is_more in steps:
        if is_more or counts[owner]:
            ranking.add(owner, 1 if is_more else -1)
            counts[owner] += 1 if is_more else -1
        most = max(counts.values(), default=0)
        first = {owner for owner, has in counts.items() if has == most > 0}
        assert {ranking.first(owner) for owner in first} == first
        assert (ranking.first("nobody") or "nobody") in (first or {"nobody"})
        assert len(ranking) == sum(has > 0 for has in counts.values())


@pytest.mark.usefixtures("uncovered")
def test_ten_thousand_attempts() -> None:
    """At a real limit a flood of 100,000 names ends one attempt for each that starts."""
    shares = Shares[int](10_000)
    ended = [len(shares.ask(n, Client(OWNERS[n % 5], 1 + n))) for n in range(100_000)]
    assert ended[-1000:] == [1] * 1000
    assert len(shares) <= 10_000
