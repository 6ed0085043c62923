"""What is kept by the hundred thousand: values, entries, and the collector of cycles."""

import gc
import json
import pickle

import pytest

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import Failure, State
from postfix_mta_sts.resolver.cache import CacheEntry
from postfix_mta_sts.store import LastAsked
from postfix_mta_sts.values import replace, to_json
from tests.support.states import a_state

GOOD = Domain("good.test")


def failed() -> State:
    """A state with all that can hang on one."""
    return replace(a_state(), failure=Failure("no-record", "", "no record", 1, 1000.0))


def test_a_value_says_the_same_or_it_does_not() -> None:
    """Equality goes by what is said, and so does the hash."""
    assert failed() == failed()
    assert hash(failed()) == hash(failed())
    assert failed() != a_state()


def test_a_value_never_changes() -> None:
    """Another is made instead."""
    state = a_state()
    with pytest.raises(AttributeError):
        state.checked_at = 7.0  # type: ignore[misc] # what is tried
    assert replace(state, checked_at=7.0).checked_at == 7.0
    assert state == a_state()


def test_a_value_goes_over_to_another_process() -> None:
    """And is the same there."""
    there = pickle.loads(pickle.dumps(failed()))  # noqa: S301 (of our own)
    assert there == failed()


@pytest.mark.parametrize("at", [0.0, 1795377406.8498323, 1e-7, 2.0**53])
def test_a_value_can_be_written_as_json(at: float) -> None:
    """With its attributes by name, and every number as it is."""
    written = json.loads(to_json({GOOD: LastAsked(at, 3)}))
    assert written == {"good.test": {"at": at, "times": 3}}


def test_an_entry_is_itself_alone() -> None:
    """It may change, so that another with the same words is another."""
    one, other = (CacheEntry(GOOD, a_state(), 0.0) for _ in range(2))
    assert one != other
    one.state = None
    assert other.state == a_state()


def test_the_collector_of_cycles_does_not_look_at_them() -> None:
    """With all that they hold: with 100,000 of them one look would take half a second."""
    state = failed()
    assert state.policy
    gc.collect()  # with which it lets go of tuples that hold nothing for it
    known, asked = CacheEntry(GOOD, state, 0.0), LastAsked(0.0, 2)
    kept = (known, asked, state, state.failure, state.policy, state.policy.mx)
    assert [gc.is_tracked(each) for each in kept] == [False] * len(kept)
