"""Values and entries, which exist by the hundred thousand, and the garbage collector."""

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
    """Return a state with a policy and a failure."""
    return replace(a_state(), failure=Failure("no-record", "", "no record", 1, 1000.0))


def test_values_are_compared_by_their_attributes() -> None:
    """Values with equal attributes are equal and have the same hash."""
    assert failed() == failed()
    assert hash(failed()) == hash(failed())
    assert failed() != a_state()


def test_a_value_is_immutable() -> None:
    """`replace` makes a changed copy."""
    state = a_state()
    with pytest.raises(AttributeError):
        state.checked_at = 7.0  # type: ignore[misc] # the error under test
    assert replace(state, checked_at=7.0).checked_at == 7.0
    assert state == a_state()


def test_a_value_can_be_pickled() -> None:
    """The copy in another process is equal."""
    copy = pickle.loads(pickle.dumps(failed()))  # noqa: S301 (the test pickled it)
    assert copy == failed()


@pytest.mark.parametrize("at", [0.0, 1795377406.8498323, 1e-7, 2.0**53])
def test_a_value_can_be_written_as_json(at: float) -> None:
    """Attributes are written by name, and numbers exactly."""
    written = json.loads(to_json({GOOD: LastAsked(at, 3)}))
    assert written == {"good.test": {"at": at, "times": 3}}


def test_entries_are_compared_by_identity() -> None:
    """Two entries with equal attributes are different: each may change."""
    one, other = (CacheEntry(GOOD, a_state(), 0.0) for _ in range(2))
    assert one != other
    one.asked_at = 7.0
    assert other.asked_at == 0.0


def test_the_garbage_collector_does_not_track_them() -> None:
    """Nor what they contain: one pass over 100,000 of them would take half a second."""
    state = failed()
    assert state.policy
    gc.collect()  # untracks tuples that contain nothing to track
    known, asked = CacheEntry(GOOD, state, 0.0), LastAsked(0.0, 2)
    values = (known, asked, state, state.failure, state.policy, state.policy.mx)
    assert [gc.is_tracked(each) for each in values] == [False] * len(values)
