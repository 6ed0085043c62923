"""What relays make of the exceptions that they share: the rules."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.admin.exceptions.shared import (
    Plan,
    joined,
    lowest_version,
    mark_of,
    marks_of,
    noted,
    notes_of_fleet,
    plan,
)
from postfix_mta_sts.mtasts.exceptions import PolicyException, Scope, Use
from postfix_mta_sts.store.fleet.requests import Document
from postfix_mta_sts.store.records import EXCEPTIONS_LIMIT, FleetNotes
from postfix_mta_sts.values import replace
from tests.support.exceptions import HOUR, configured, exception
from tests.support.surroundings import START

KEYS = ("0123abcd",)
FIRST, SECOND, THIRD = (exception(f"{name}.test") for name in ("a", "b", "c"))
NOBODY: Mapping[Scope, PolicyException] = {}


def notes(version: int, *seen: PolicyException) -> FleetNotes:
    """What a relay has seen."""
    return FleetNotes(version, KEYS, marks_of(configured(*seen)))


def test_no_document_and_nothing_to_say() -> None:
    """A new relay without exceptions writes nothing."""
    made = plan(NOBODY, FleetNotes(), Document(0, None))
    assert (made.is_written, made.added, made.notes.version) == (False, NOBODY, 0)


def test_first_document() -> None:
    """Without a document, a relay with exceptions writes its own."""
    made = plan(configured(FIRST), FleetNotes(), Document(0, None))
    assert (made.is_written, made.notes.version) == (True, 1)
    assert made.added == made.shared == configured(FIRST)
    assert not made.is_old


def test_new_relay() -> None:
    """A relay that has seen no document has what the fleet has, and what it had itself."""
    made = plan(configured(FIRST), FleetNotes(), Document(7, (SECOND,)))
    assert made.added == made.shared == configured(SECOND, FIRST)
    assert (made.is_written, made.notes.version) == (True, 8)


def test_nothing_new() -> None:
    """The document that a relay has seen changes nothing, and is not written again."""
    made = plan(configured(FIRST), notes(3, FIRST), Document(3, None))
    assert (made.is_written, made.added, made.notes) == (
        False,
        configured(FIRST),
        notes(3, FIRST),
    )


def test_newer_document() -> None:
    """What others have added, replaced and removed is so here, too."""
    changed = replace(SECOND, use=Use.MAY)
    made = plan(
        configured(FIRST, SECOND), notes(3, FIRST, SECOND), Document(4, (changed, THIRD), "mx2")
    )
    assert made.added == configured(changed, THIRD)
    assert (made.is_written, made.notes) == (False, notes(4, changed, THIRD))


def test_older_document() -> None:
    """A document that is older changes nothing; the one of the relay is written with its number."""
    made = plan(configured(FIRST), notes(9, FIRST), Document(4, None))
    assert made.is_old
    assert (made.is_written, made.notes.version, made.added) == (True, 9, configured(FIRST))


def test_older_document_that_says_more() -> None:
    """Even if it came with its exceptions, nothing of it is used."""
    made = plan(configured(FIRST), notes(9, FIRST), Document(4, (SECOND,)))
    assert made.added == made.shared == configured(FIRST)


def test_lost_document() -> None:
    """A store that was emptied gets the document with its number; one without exceptions, too."""
    for kept in ((FIRST,), ()):
        made = plan(configured(*kept), notes(9, *kept), Document(0, None))
        assert (made.is_written, made.notes.version, made.is_old) == (True, 9, False)
        assert made.added == configured(*kept)


def test_changes_while_away() -> None:
    """What commands added, replaced and removed while the store was away is merged when it is back.

    What others have changed meanwhile stays.
    """
    changed = replace(SECOND, use=Use.MAY)
    local = configured(changed, exception("new.test"), THIRD)
    seen = noted({FIRST.scope: None}, configured(FIRST), notes(3, FIRST, SECOND, THIRD))
    made = plan(local, seen, Document(5, (FIRST, SECOND, exception("x.test"))))
    assert sorted(made.added) == ["b.test", "new.test", "x.test"]
    assert made.added[SECOND.scope] == changed
    assert (made.is_written, made.notes.version) == (True, 6)
    assert made.notes.removed == {}


def test_removal_of_what_others_replaced() -> None:
    """A removal is about the exception that was there: one that others have added since stays."""
    later = replace(FIRST, use=Use.MAY, added_at=START + 5)
    seen = noted({FIRST.scope: None}, configured(FIRST), notes(3, FIRST))
    assert plan(NOBODY, seen, Document(5, (later,))).added == configured(later)


def test_two_that_replaced_one() -> None:
    """Of two exceptions for one scope the one that was added later counts, on each relay."""
    earlier, later = (replace(FIRST, added_at=START + n, reason=f"at {n}") for n in (5, 6))
    for ours, theirs in ((earlier, later), (later, earlier)):
        made = plan(configured(ours), notes(3, FIRST), Document(5, (theirs,)))
        assert made.added == configured(later)


def test_write_whose_answer_was_lost() -> None:
    """A change that is in the document although its answer was lost is no second change."""
    made = plan(configured(FIRST, SECOND), notes(3, FIRST), Document(4, (FIRST, SECOND)))
    assert (made.is_written, made.notes.version) == (False, 4)
    gone = noted({SECOND.scope: None}, configured(FIRST, SECOND), notes(3, FIRST))
    made = plan(configured(FIRST), gone, Document(4, (FIRST, SECOND)))
    assert (made.is_written, made.added) == (True, configured(FIRST))


def test_removals_after_lost_answers() -> None:
    """What a relay has removed stays so, although the answers to its writes were lost."""
    seen = FleetNotes(keys=KEYS)
    each = [replace(FIRST, added_at=START + n) for n in range(4)]
    for made in each:
        seen = noted({FIRST.scope: None}, configured(made), seen)
    for made in each:
        assert plan(NOBODY, seen, Document(1, (made,))).added == {}
    later = replace(FIRST, added_at=START + 9)
    assert plan(NOBODY, seen, Document(1, (later,))).added == configured(later)


def test_damaged_row_of_this_relay() -> None:
    """What a disk has lost is no removal: the document is read again, and it comes back."""
    seen = notes(3, FIRST, SECOND)
    assert lowest_version(configured(FIRST, SECOND), seen) == 3
    assert lowest_version(configured(FIRST), seen) == 2
    made = plan(configured(FIRST), seen, Document(3, (FIRST, SECOND)))
    assert (made.is_written, made.added) == (False, configured(FIRST, SECOND))
    removed = noted({SECOND.scope: None}, configured(SECOND), seen)
    assert lowest_version(configured(FIRST), removed) == 3


def test_command() -> None:
    """A command is done on the newest document, and is later than all in it."""
    theirs = replace(FIRST, use=Use.MAY, added_at=START + 900)  # by a clock that is ahead
    document = Document(5, (theirs, SECOND))
    made = plan(NOBODY, notes(3), document, {FIRST.scope: FIRST})
    assert made.added == configured(FIRST, SECOND)
    made = plan(NOBODY, notes(3), document, {FIRST.scope: None})
    assert made.added == configured(SECOND)
    assert (made.is_written, made.notes.version) == (True, 6)


def test_notes_have_a_limit() -> None:
    """A program that adds and removes while the store is away does not make the notes grow."""
    seen = notes(3, FIRST)
    for n in range(EXCEPTIONS_LIMIT + 5):
        made = exception(f"d{n}.test")
        seen = noted({made.scope: None}, configured(made), seen)
        if n == 0:
            seen = noted({FIRST.scope: None}, configured(FIRST), seen)
    assert len(seen.removed) == EXCEPTIONS_LIMIT + 1
    assert FIRST.scope in seen.removed
    assert "d0.test" not in seen.removed


def test_another_fleet() -> None:
    """Numbers of one fleet mean nothing in another; one of two keys is enough for the same."""
    seen = notes(9, FIRST)
    assert notes_of_fleet(seen, KEYS) is seen
    assert notes_of_fleet(seen, (*KEYS, "new")).version == 9
    assert notes_of_fleet(seen, ("new",)) == FleetNotes(keys=("new",))


def test_more_than_a_document_can_have() -> None:
    """What has no room in the document stays in force here, and is not offered each time."""
    theirs = [exception(f"d{n}.test") for n in range(EXCEPTIONS_LIMIT)]
    made = plan(configured(FIRST), FleetNotes(), Document(7, tuple(theirs)))
    assert made.added == configured(*theirs, FIRST)
    assert made.shared == configured(*theirs)
    assert not made.is_written
    again = plan(made.added, made.notes, Document(7, None))
    assert (again.is_written, again.added) == (False, made.added)
    room = plan(made.added, made.notes, Document(8, tuple(theirs[1:])))
    assert (room.is_written, len(room.shared)) == (True, EXCEPTIONS_LIMIT)
    assert FIRST.scope in room.shared


def test_disk_that_is_read_late() -> None:
    """What the fleet has said until then is merged with what is on disk, if it is not older."""
    of_fleet = configured(FIRST, SECOND)
    seen = notes(5, FIRST, SECOND)
    assert joined(configured(THIRD), notes(3, THIRD), of_fleet, seen) == (of_fleet, seen)
    assert joined(configured(THIRD), notes(6, THIRD), of_fleet, seen) == (
        configured(THIRD),
        notes(6, THIRD),
    )
    assert joined(configured(THIRD), FleetNotes(), NOBODY, FleetNotes()) == (
        configured(THIRD),
        FleetNotes(),
    )
    added, later = joined(configured(THIRD), FleetNotes(), of_fleet, seen)
    assert (added, later) == (configured(FIRST, SECOND, THIRD), seen)


def test_removal_on_a_disk_that_is_read_late() -> None:
    """A removal that the fleet does not know yet is done, and stays noted."""
    seen = noted({FIRST.scope: None}, configured(FIRST), notes(5, FIRST))
    added, later = joined(NOBODY, seen, configured(FIRST), notes(5, FIRST))
    assert added == {}
    assert plan(added, later, Document(5, None)).shared == {}


def test_mark() -> None:
    """Each field counts, so that a change of any is seen; the mark is the same in all versions."""
    others = [
        replace(FIRST, reason="x"),
        replace(FIRST, until=None),
        replace(FIRST, use=Use.MAY),
        replace(FIRST, use=Use.MAY, ignores_dane=True),
        replace(FIRST, added_at=START + 0.5),
        replace(FIRST, uid=7),
        replace(FIRST, relay="mx2"),
        exception("a.test", use=Use.PIN, mx=("mx.test",)),
    ]
    assert len({mark_of(each) for each in (FIRST, *others)}) == 9
    assert mark_of(FIRST) == "b0973a8cfd8a849e"


_SCOPES = st.sampled_from(["a.test", "b.test", "c.test"])
_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "remove", "sync", "sync", "restore", "flush"]),
        st.integers(0, 2),
        _SCOPES,
    ),
    max_size=40,
)


class _Relay:
    def __init__(self) -> None:
        self.local: Mapping[Scope, PolicyException] = {}
        self.notes = FleetNotes(keys=KEYS)


class _World:
    """Three relays, whose store is away but for the moments of `sync`."""

    def __init__(self) -> None:
        self.relays = [_Relay() for _ in range(3)]
        self.version, self.content = 0, configured()
        self.history = [(0, self.content)]

    def add(self, relay: _Relay, scope: str, now: float) -> None:
        """A command."""
        made = exception(scope, added_at=now, lasts=HOUR)
        relay.notes = noted({made.scope: made}, relay.local, relay.notes)
        relay.local = {**relay.local, made.scope: made}

    def remove(self, relay: _Relay, scope: str) -> None:
        """A command."""
        command = {Scope(scope): None}
        relay.notes = noted(command, relay.local, relay.notes)
        relay.local = {key: each for key, each in relay.local.items() if key != scope}

    def sync(self, relay: _Relay, *, is_lost: bool = False) -> Plan:
        """The store answers this relay; the answer to a write may be lost."""
        above = lowest_version(relay.local, relay.notes)
        given = tuple(self.content.values()) if self.version > above else None
        made = plan(relay.local, relay.notes, Document(self.version, given))
        if made.is_written:
            assert made.notes.version > self.version
            self.version, self.content = made.notes.version, made.shared
            self.history.append((self.version, self.content))
            if is_lost:
                return made
        assert made.notes.version >= relay.notes.version
        relay.local, relay.notes = made.added, made.notes
        return made


@given(_STEPS)
def test_any_course_of_things(steps: list[tuple[str, int, str]]) -> None:
    """Whatever happens, the relays agree in the end, and nothing is written again after that.

    No older document changes what is in force, and each version has one content.
    """
    world = _World()
    for number, (what, number_of, scope) in enumerate(steps):
        relay = world.relays[number_of]
        before = relay.local
        if what == "add":
            world.add(relay, scope, START + number)
        elif what == "remove":
            world.remove(relay, scope)
        elif what == "restore":
            world.version, world.content = world.history[len(world.history) // 2]
        elif what == "flush":
            world.version, world.content = 0, configured()
        else:
            is_old = world.version < relay.notes.version
            world.sync(relay)
            assert not is_old or relay.local == before
    for relay in world.relays * 2:
        world.sync(relay)
    highest = max(relay.notes.version for relay in world.relays)
    assert {relay.notes.version for relay in world.relays} == {highest}
    assert not any(world.sync(relay).is_written for relay in world.relays)


_ALONE = ["add", "add", "remove", "sync", "lost"]


@given(st.lists(st.tuples(st.sampled_from(_ALONE), st.integers(0, 2), _SCOPES), max_size=40))
def test_nothing_is_lost_without_a_rollback(steps: list[tuple[str, int, str]]) -> None:
    """The relays have the same exceptions in the end: what each has added, and not removed."""
    world = _World()
    for number, (what, number_of, scope) in enumerate(steps):
        relay = world.relays[number_of]
        if what == "add":
            world.add(relay, f"{'xyz'[number_of]}.{scope}", START + number)
        elif what == "remove":
            world.remove(relay, f"{'xyz'[number_of]}.{scope}")
        else:
            world.sync(relay, is_lost=what == "lost")
    wanted: dict[Scope, PolicyException] = {}
    for relay, letter in zip(world.relays, "xyz", strict=True):
        wanted |= {s: each for s, each in relay.local.items() if s.startswith(letter)}
    for relay in world.relays * 2:
        world.sync(relay)
    assert all(relay.local == wanted for relay in world.relays)
