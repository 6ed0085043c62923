"""Which calls of a store are made: each failure closes the way of those that it concerns."""

import pytest

from postfix_mta_sts.store.fleet.errors import (
    BusyError,
    CannotServeError,
    DeniedError,
    FleetError,
    LateError,
    NotReachedError,
    PausedError,
    SchemaError,
)
from postfix_mta_sts.store.fleet.gates import CallKind, Gates
from postfix_mta_sts.store.fleet.requests import StoreCondition

LOOK = CallKind(is_look=True, is_write=False)
CLAIM = CallKind(is_look=True, is_write=True)
READ = CallKind(is_look=False, is_write=False)
WRITE = CallKind(is_look=False, is_write=True)
KINDS = {"look": LOOK, "claim": CLAIM, "read": READ, "write": WRITE}
BUDGET = 0.25


class Store:
    """Gates whose clock the test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.gates = Gates(BUDGET, lambda: self.now)

    def fail(self, kind: CallKind, error: FleetError, times: int = 2) -> None:
        """Make calls that fail."""
        for _ in range(times):
            self.gates.failed(self.gates.admit(kind), error)

    def work(self, kind: CallKind, took: float = 0.0) -> None:
        """Make a call that works."""
        call = self.gates.admit(kind)
        self.now += took
        self.gates.succeeded(call)

    @property
    def admitted(self) -> set[str]:
        """The kinds of calls that are made at present."""
        return {name for name, kind in KINDS.items() if self._admits(kind)}

    def _admits(self, kind: CallKind) -> bool:
        try:
            self.gates.gave_up(self.gates.admit(kind))
        except PausedError:
            return False
        return True


@pytest.mark.parametrize(
    ("kind", "error", "admitted"),
    [
        (LOOK, NotReachedError("x"), set()),
        (CLAIM, NotReachedError("x"), set()),
        (READ, NotReachedError("x"), set()),
        (WRITE, NotReachedError("x"), set()),
        (WRITE, SchemaError("x"), set()),
        (LOOK, DeniedError("x"), set()),
        (READ, CannotServeError("x"), set()),
        (READ, LateError("x"), set()),
        (WRITE, LateError("x"), {"look", "read"}),
        (LOOK, LateError("x"), {"read", "write"}),
        (CLAIM, LateError("x"), {"read"}),
        (CLAIM, CannotServeError("x"), {"look", "read"}),
        (WRITE, DeniedError("x"), {"look", "read"}),
        (CLAIM, BusyError("x"), set(KINDS)),
        (READ, BusyError("x"), set(KINDS)),
    ],
)
def test_what_a_failure_concerns(kind: CallKind, error: FleetError, admitted: set[str]) -> None:
    """A time limit of a look-up, a write that fails and a busy relay say nothing of the rest."""
    store = Store()
    store.fail(kind, error)
    assert store.admitted == admitted


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_calls_that_fail_together(kind: CallKind) -> None:
    """One slow commit ends many calls, and closes no way; the next one that is slow does."""
    store = Store()
    together = [store.gates.admit(kind) for _ in range(5)]
    store.now = 1.0
    for each in together:
        store.gates.failed(each, LateError("late"))
    assert store.admitted == set(KINDS)
    store.fail(kind, LateError("late"), times=1)
    assert store.admitted != set(KINDS)


def test_condition() -> None:
    """It names the worst: a store that is not asked, then one not written, then a slow one."""
    store = Store()
    assert store.gates.condition == StoreCondition()
    store.fail(LOOK, LateError("late"))
    assert store.gates.condition == StoreCondition("late", is_slow=True)
    store.fail(WRITE, CannotServeError("full"))
    assert store.gates.condition == StoreCondition("full")
    store.fail(READ, NotReachedError("refused"))
    assert store.gates.condition == StoreCondition("refused", is_asked=False)


@pytest.mark.parametrize(("took", "is_quick"), [(BUDGET, True), (1.1 * BUDGET, False)])
def test_what_can_wait_is_the_probe(took: float, *, is_quick: bool) -> None:
    """A call that no look-up waits for lets look-ups through, if it was quick enough for one."""
    store = Store()
    store.fail(LOOK, LateError("late"))
    store.now = 5.0
    store.work(READ, took)
    assert ("look" in store.admitted) is is_quick
    assert {"read", "write"} <= store.admitted


def test_a_late_call_that_can_wait_is_no_failure() -> None:
    """Not even together with a look-up that is late."""
    store = Store()
    for _ in range(9):
        store.work(READ, 0.9)
    store.fail(LOOK, LateError("late"), times=1)
    store.work(READ, 0.9)
    assert store.admitted == set(KINDS)


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (LOOK, NotReachedError("x")),
        (LOOK, LateError("x")),
        (WRITE, CannotServeError("x")),
        (CLAIM, LateError("x")),
    ],
)
def test_no_look_up_is_the_probe(kind: CallKind, error: FleetError) -> None:
    """However long ago the failure is, only calls that no look-up waits for try again."""
    store = Store()
    store.fail(kind, error)
    closed = set(KINDS) - store.admitted - {"read", "write"}
    store.now += 3600.0
    assert store.admitted == set(KINDS) - closed
    store.work(WRITE)
    assert store.admitted == set(KINDS)


def test_look_ups_at_a_store_that_hangs_on_writes() -> None:
    """Two find it, by the write that follows their read; then they only read."""
    store = Store()
    for _ in range(2):
        store.work(LOOK)
        store.fail(CLAIM, LateError("no answer within 0.25 s"), times=1)
    assert store.admitted == {"look", "read"}
    for _ in range(9):
        store.now += 60.0
        store.fail(WRITE, LateError("no answer within 1 s"), times=1)
        assert store.admitted == {"look", "read"}


def test_look_ups_at_a_store_that_begins_to_hang() -> None:
    """Two find it, also if the first has read when it begins."""
    store = Store()
    store.work(LOOK)
    store.fail(CLAIM, LateError("no answer within 0.25 s"), times=1)
    store.fail(LOOK, LateError("no answer within 0.25 s"), times=1)
    assert store.admitted == {"read", "write"}


def test_a_store_that_is_read_and_hangs_on_writes() -> None:
    """Reads between the writes do not hide that it is not written; a write tells that it is."""
    store = Store()
    for _ in range(2):
        store.fail(WRITE, LateError("no answer within 1 s"), times=1)
        store.work(READ)
        store.work(LOOK)
    assert store.gates.condition == StoreCondition("no answer within 1 s")
    store.now += 5.0
    store.work(WRITE)
    assert store.gates.condition == StoreCondition()
