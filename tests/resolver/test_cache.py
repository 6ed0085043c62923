"""What is known of domains: who is forgotten first, and what an entry takes."""

import gc
import tracemalloc
from collections.abc import Iterable, Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.dane import DaneOutcome, HostState, after_verdict
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.postfix.protocol import socketmap
from postfix_mta_sts.postfix.protocol.reply import PLAIN
from postfix_mta_sts.postfix.replies import ReplyCache
from postfix_mta_sts.resolver.cache import StateCache, evict_oldest
from postfix_mta_sts.resolver.resolver import Resolver
from postfix_mta_sts.store.memory import MemoryStore
from postfix_mta_sts.store.sqlite.rows import state_of
from postfix_mta_sts.values import replace
from tests.support.clients import request
from tests.support.states import a_state
from tests.support.surroundings import START, UNSIGNED, Surroundings, signed

A, B, C = (Domain(f"{name}.test") for name in "abc")


class Room:
    """A memory for two, and those whom it has forgotten."""

    def __init__(self) -> None:
        self.evicted: list[Domain] = []
        self.memory = StateCache(2, self.evicted.append)

    def put(self, *domains: Domain, outcome: DaneOutcome | None = None) -> None:
        """Let these have a state each."""
        dane = after_verdict(None, outcome, START) if outcome else None
        for domain in domains:
            self.memory.put(domain, replace(a_state(), dane=dane), START)


def test_who_was_not_asked_for_longest_goes_first() -> None:
    """Whoever holds it sees that, and who has to know is told."""
    room = Room()
    room.put(A, B)
    first, second = room.memory.get(A), room.memory.get(B)
    assert first
    assert second
    room.memory.use(first, START + 1)
    room.put(C)
    assert room.evicted == [B]
    assert second.state is None
    assert room.memory.get(B) is None
    assert (room.memory.get(A), len(room.memory)) == (first, 2)


def test_another_state_takes_the_place_of_the_first() -> None:
    """Whoever holds the first sees that it counts no more."""
    room = Room()
    room.put(A)
    before = room.memory.get(A)
    assert before
    room.put(A)
    assert before.state is None
    assert room.evicted == []
    assert len(room.memory) == 1


def test_one_can_be_forgotten() -> None:
    """And it is said whether there was anything to forget."""
    room = Room()
    room.put(A)
    assert [room.memory.drop(A), room.memory.drop(A)] == [True, False]
    assert room.memory.states() == []


def test_those_that_dane_is_to_be_asked_about() -> None:
    """Domains of DANE, asked for lately, of which the verdict is due; none without verdicts."""
    room = Room()
    room.put(A, outcome=signed(HostState.USABLE, ttl=100))
    room.put(B, outcome=UNSIGNED)
    due = START + 90
    assert room.memory.verdicts_due(START, START) == []
    assert room.memory.verdicts_due(START, due) == [A]
    assert room.memory.verdicts_due(START + 1, due) == []
    room.memory.drop_verdicts()
    assert room.memory.verdicts_due(START, due) == []
    assert [state.dane for _, state in room.memory.states()] == [None, None]


class File(MemoryStore):
    """A store that reads each state anew, as one in a file does; all were checked just now."""

    async def load_all(self, domains: Sequence[Domain]) -> Mapping[Domain, State]:
        """See `Store`."""
        return {domain: _read(domain) for domain in domains if not domain.startswith("absent")}


def _read(domain: Domain) -> State:
    text = f"version: STSv1\r\nmode: enforce\r\nmx: mx1.{domain}\r\nmx: mx2.{domain}\r\n"
    times = str(START - 1), str(START + 80_000)
    state = state_of(["20260101", f"{text}max_age: 604800\r\n", *times, None])
    return replace(state, recheck_at=START + 300)


async def bytes_each(around: Surroundings, keys: Iterable[str]) -> float:
    """What is kept for each of these keys when they have been asked for."""
    requests = [request(key) for key in keys]
    resolver = Resolver(around.sources(), lookup_timeout=5, entries=10_000)
    answers = ReplyCache(socketmap, lambda _: PLAIN, resolver, lambda: around.now, entries=10_000)
    gc.collect()
    tracemalloc.start()
    try:
        for each in requests:
            reply = answers.reply(bytes(bytearray(each)))  # its own bytes, as from a socket
            assert not isinstance(reply, bytes)
            reply.reply(await reply.result)
        await resolver.close()
        gc.collect()
        assert answers.entries == resolver.entries == len(requests)
        return tracemalloc.get_traced_memory()[0] / len(requests)
    finally:
        tracemalloc.stop()


async def test_bytes_of_an_entry() -> None:
    """A policy takes 1 KiB with its reply, an absence half of that."""
    around = Surroundings(store=File())
    numbers = range(100_000, 102_000)
    absence = await bytes_each(around, (f"absent{n}.bench.test" for n in numbers))
    policy = await bytes_each(around, (f"d{n}.bench.test" for n in numbers))
    assert 700 < policy < 1_150
    assert 300 < absence < 600


def test_nothing_to_drop() -> None:
    """Up to its size a memory keeps everything."""
    memory = {1: "a", 2: "b"}
    assert evict_oldest(memory, 2) == []
    assert memory == {1: "a", 2: "b"}


def test_oldest_first() -> None:
    """What was put in first goes first, unless it was put in again."""
    memory = {1: "a", 2: "b", 3: "c"}
    memory[1] = memory.pop(1)
    assert evict_oldest(memory, 2) == ["b"]
    assert list(memory) == [3, 1]


@given(st.lists(st.integers(0, 500), max_size=600), st.integers(1, 200))
def test_bounded(uses: list[int], most: int) -> None:
    """Never more than its size, and the last used are there: all but one in 64 of the size."""
    memory: dict[int, None] = {}
    for key in uses:
        memory.pop(key, None)
        memory[key] = None
        evict_oldest(memory, most)
        assert len(memory) <= most
    latest = list(dict.fromkeys(reversed(uses)))
    assert set(latest[: most - most // 64]) <= set(memory)
