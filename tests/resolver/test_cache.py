"""The state cache: what is evicted first, and what is attached to an entry."""

import math
from sys import getsizeof

from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.dane import DaneOutcome, HostState
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.mtasts.verdict import after_verdict
from postfix_mta_sts.resolver.cache import SLICE, CacheEntry, Limits, Made, StateCache, surplus
from postfix_mta_sts.resolver.sizes import state_size
from postfix_mta_sts.values import replace
from tests.support.states import a_policy, a_state
from tests.support.surroundings import START, UNSIGNED, signed

A, B, C = (Domain(f"{name}.test") for name in "abc")
ABSENCE = replace(a_state(), policy=None, policy_id=None)


class Text(Made):
    """A text made from a state."""

    text: str

    @property
    def size(self) -> int:
        """See `Made`."""
        return getsizeof(self.text)


class SmallCache:
    """A cache with two entries, and the domains that were evicted."""

    def __init__(self, entries: int = 2, memory: int = 2**20) -> None:
        self.evicted: list[Domain] = []
        self.cache = StateCache(Limits(entries, memory), self.evicted.append)

    def put(self, *domains: Domain, outcome: DaneOutcome | None = None) -> None:
        """Store a state for each domain, with the verdict of this outcome."""
        dane = after_verdict(None, outcome, START) if outcome else None
        for domain in domains:
            self.cache.put(domain, replace(a_state(), dane=dane), START)

    def entry(self, domain: Domain = A) -> CacheEntry:
        """The entry of a domain; fails if there is none."""
        entry = self.cache.get(domain)
        assert entry
        return entry

    def due(self, asked_since: float, now: float) -> list[Domain]:
        """The domains of `verdicts_due`."""
        return [each for part in self.cache.verdicts_due(asked_since, now) for each in part]

    @property
    def states(self) -> list[State | None]:
        """All states."""
        return [entry.state for part in self.cache.slices() for entry in part]


def test_the_least_recently_used_entry_is_evicted_first() -> None:
    """The entry loses its state, and the callback is called."""
    small = SmallCache()
    small.put(A, B)
    first, second = small.cache.get(A), small.cache.get(B)
    assert first
    assert second
    small.cache.use(first, START + 1)
    small.put(C)
    assert small.evicted == [B]
    assert second.state is None
    assert small.cache.get(B) is None
    assert (small.cache.get(A), len(small.cache)) == (first, 2)


def test_a_second_state_replaces_the_first() -> None:
    """The first entry loses its state; that is no eviction."""
    small = SmallCache()
    small.put(A)
    before = small.cache.get(A)
    assert before
    small.put(A)
    assert before.state is None
    assert small.evicted == []
    assert len(small.cache) == 1


def test_drop() -> None:
    """Removes an entry; returns whether there was one."""
    small = SmallCache()
    small.put(A)
    assert [small.cache.drop(A), small.cache.drop(A)] == [True, False]
    assert small.states == []
    assert small.cache.used == 0


def test_verdicts_that_are_due() -> None:
    """Recently asked DANE domains whose verdict is due; none after `drop_verdicts`."""
    small = SmallCache()
    small.put(A, outcome=signed(HostState.USABLE, ttl=100))
    small.put(B, outcome=UNSIGNED)
    due = START + 90
    assert small.due(START, START) == []
    assert small.due(START, due) == [A]
    assert small.due(START + 1, due) == []
    assert len(list(small.cache.drop_verdicts())) == 1
    assert small.due(START, due) == []
    assert [state and state.dane for state in small.states] == [None, None]


def test_the_bytes_are_limited() -> None:
    """The least recently used entries are evicted until the others are within the limit."""
    size = state_size(A, a_state())
    small = SmallCache(entries=100, memory=3 * size)
    small.put(A, B, C)
    assert small.cache.used == 3 * size
    small.cache.use(small.entry(A), START)
    small.cache.update(small.entry(C), a_state(policy=a_policy(note="n" * (size // 2))))
    assert small.evicted == [B]
    assert small.cache.used <= 3 * size


def test_a_state_that_is_too_large_is_not_kept() -> None:
    """It is evicted like any other, and the one byte too many with it."""
    small = SmallCache(memory=state_size(A, a_state()) - 1)
    small.put(A)
    assert (small.evicted, small.states, small.cache.used) == ([A], [], 0)


def test_the_number_of_policies() -> None:
    """It follows each change of a state."""
    small = SmallCache()
    counts = []
    for change in (
        lambda: small.put(A, B),
        lambda: small.cache.update(small.entry(A), ABSENCE),
        lambda: small.put(C),
        lambda: small.cache.drop(C),
    ):
        change()
        counts.append(small.cache.policies)
    assert counts == [2, 1, 2, 1]


class TestMade:
    """What others made from a state."""

    def test_it_counts_as_bytes_of_the_entry(self) -> None:
        """It can make the cache evict others."""
        small = SmallCache(entries=3, memory=3 * state_size(A, a_state()) + 50_000)
        small.put(A, B, C)
        text = Text(START + 9, "t" * 50_000)
        small.cache.attach(small.entry(C), text, START)
        assert small.evicted == [A, B]
        assert small.cache.used == state_size(C, a_state()) + text.size

    def test_it_ends_with_the_state(self) -> None:
        """If the state is replaced by a different one, or the domain is dropped."""
        small = SmallCache()
        small.put(A)
        texts = [Text(START + 9, "t") for _ in range(2)]
        small.cache.attach(small.entry(), texts[0], START)
        small.cache.update(small.entry(), ABSENCE)
        small.cache.attach(small.entry(), texts[1], START)
        kept = small.entry().made
        small.cache.update(small.entry(), ABSENCE)
        assert (small.entry().made, kept) == ((texts[1],), (texts[1],))
        small.cache.drop(A)
        assert [text.until for text in texts] == [-math.inf, -math.inf]

    def test_what_has_ended_gives_way(self) -> None:
        """Whether by time or by `end`: the next one is attached in its place."""
        small = SmallCache()
        small.put(A)
        texts = [Text(until, "t") for until in (START + 1, START + 9, START + 9, START + 9)]
        for text in texts[:3]:
            small.cache.attach(small.entry(), text, START)
        texts[1].end()
        small.cache.attach(small.entry(), texts[3], START + 1)
        assert small.entry().made == (texts[2], texts[3])
        assert small.cache.used == state_size(A, a_state()) + 2 * getsizeof("t")


class TestSlices:
    """`slices`, with which the event loop is never held up for long."""

    def test_all_entries(self) -> None:
        """Each once, `SLICE` at a time at most, however many are removed meanwhile."""
        small = SmallCache(entries=5_000, memory=2**30)
        domains = [Domain(f"d{n}.test") for n in range(2 * SLICE + 1)]
        small.put(*domains)
        assert [len(part) for part in small.cache.slices()] == [SLICE, SLICE, 1]
        seen = []
        for part in small.cache.slices():
            seen += [entry.domain for entry in part]
            small.cache.drop(domains[-1])
            small.cache.use(small.entry(domains[0]), START)
            small.put(A)
        assert seen == domains[:-1]

    def test_a_much_lower_limit_is_reached_step_by_step(self) -> None:
        """An insertion evicts a thousand entries at most, as after a reload."""
        small = SmallCache(entries=5_000, memory=2**30)
        small.put(*(Domain(f"d{n}.test") for n in range(2_500)))
        small.cache.limits = Limits(100, 2**30)
        counts = []
        for domain in (A, B, C):
            small.put(domain)
            counts.append(len(small.cache))
        assert counts == [1_501, 502, 99]


class TestSurplus:
    """`surplus`, which also bounds the reply cache."""

    def test_up_to_the_limits_nothing_is_removed(self) -> None:
        """Exactly the limits are allowed."""
        assert surplus([("a", 2), ("b", 3)], 2, 5, Limits(2, 5)) == []

    def test_the_oldest_are_removed_first(self) -> None:
        """As many as are needed for both limits."""
        sizes = [("a", 2), ("b", 3), ("c", 4)]
        assert surplus(sizes, 3, 9, Limits(2, 100)) == ["a"]
        assert surplus(sizes, 3, 9, Limits(5, 4)) == ["a", "b"]

    @given(st.lists(st.integers(0, 500), max_size=600), st.integers(1, 200), st.integers(1, 300))
    def test_bounded(self, uses: list[int], entries: int, memory: int) -> None:
        """Never above a limit; the last used keys stay, 63/64 of the limit."""
        limits = Limits(entries, memory)
        cache: dict[int, int] = {}
        for key in uses:
            cache.pop(key, None)
            cache[key] = 1 + key % 3
            used = sum(cache.values())
            for oldest in surplus(cache.items(), len(cache), used, limits):
                del cache[oldest]
            assert len(cache) <= entries
            assert sum(cache.values()) <= memory
        latest = list(dict.fromkeys(reversed(uses)))
        kept = min(entries - entries // 64, (memory - memory // 64) // 3)
        assert set(latest[:kept]) <= set(cache)
