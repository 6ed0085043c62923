"""A memory of bounded size forgets the least recently used first."""

from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.resolver.cache import evict_oldest


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
