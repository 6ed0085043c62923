"""A moment by two clocks: durations are the same on both."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.policy import Mode
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.store import HistoryEntry
from postfix_mta_sts.store.fleet.clocks import Moment

EPOCHS = st.floats(0, 4e9, allow_nan=False)
MOMENTS = st.builds(Moment, EPOCHS.map(lambda at: round(at * 1e6)), EPOCHS)


@given(MOMENTS, st.floats(0, 4e8))
def test_there_and_back(moment: Moment, ago: float) -> None:
    """A time goes to the store and comes back, unless the store's clock began after it."""
    at = moment.relay - ago
    if moment.before(ago) > 0:
        assert moment.to_relay(moment.to_store(at)) == pytest.approx(at, abs=1e-5)


@given(MOMENTS, st.floats(-1e10, 1e10, allow_nan=False))
def test_nothing_is_in_the_future(moment: Moment, at: float) -> None:
    """A time in the future of one clock is now by the other, and none is before the epoch."""
    assert 0 <= moment.order_of(at) <= moment.store
    assert moment.to_relay(at) <= moment.relay
    assert moment.before(at) >= 0


@given(MOMENTS, st.floats(0, 1e9), st.floats(0, 1e9))
def test_order_of_entries(moment: Moment, one: float, other: float) -> None:
    """An entry of a history does not end before it begins."""
    first, last = sorted([one, other])
    entry = HistoryEntry(PolicyId("1"), Mode.ENFORCE, (), first, last)
    moved = moment.entry_to_relay(entry)
    assert moved.seen_from <= moved.seen_to
