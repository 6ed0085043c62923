"""A reply of a server that sends without end is left when it is longer than any of a Redis."""

import pytest

from postfix_mta_sts.store.fleet.engine import LIMITS
from postfix_mta_sts.store.fleet.redis.limits import MAX_REPLY, ReplyLimits


def test_the_longest_record() -> None:
    """Each record that a relay accepts fits into a reply."""
    assert max(LIMITS.values()) < MAX_REPLY
    ReplyLimits().count(max(LIMITS.values()))


def test_many_small_values() -> None:
    """Each value counts for more than its bytes: a reply has some thousands of them at most."""
    limits = ReplyLimits()
    for _ in range(2000):
        limits.count(1)
    with pytest.raises(ValueError, match="too long"):
        limits.count(MAX_REPLY - 2000 * 500)


def test_a_string_that_is_too_long() -> None:
    """The length that a server announces is enough."""
    with pytest.raises(ValueError, match="too long"):
        ReplyLimits().count(MAX_REPLY)


def test_a_negative_length() -> None:
    """No string is shorter than none."""
    with pytest.raises(ValueError, match="negative"):
        ReplyLimits().count(-2)


def test_arrays_in_arrays() -> None:
    """Arrays are nested as deeply as scripts nest them; how many there are does not matter."""
    limits = ReplyLimits()
    for _ in range(100):
        limits.enter()
        limits.leave()
    for _ in range(4):
        limits.enter()
    with pytest.raises(ValueError, match="arrays in arrays"):
        limits.enter()
