"""What the relays of a fleet make of the exceptions that they share: the rules, as pure functions.

The fleet has one document with all exceptions of commands. Its version only grows, and a relay
remembers the highest that it has seen. So a document that is older, or not there any more, changes
nothing: the relay gives its own to the fleet again. A relay that was alone for a while merges what
commands have changed on it; it notes what the document had (`FleetNotes`), to tell such a change
from one that others have made. An exception is only removed because a command did that: one that
is missing here, because a disk has lost it, comes back from the fleet.
"""

from collections.abc import Mapping
from hashlib import blake2b
from types import MappingProxyType
from typing import Final, TypeAlias

from postfix_mta_sts.mtasts.exceptions import PolicyException, Scope
from postfix_mta_sts.store.fleet.requests import Document
from postfix_mta_sts.store.records import EXCEPTIONS_LIMIT, Changes, FleetNotes
from postfix_mta_sts.values import Value, replace, to_json

ByScope: TypeAlias = Mapping[Scope, PolicyException]

NO_CHANGES: Final[Changes] = MappingProxyType({})

_MARK_SIZE: Final = 8
"""Bytes: a mark tells an exception from others of the same scope, made by people."""
_REMOVALS: Final = 4
"""Removals of one scope that are remembered: writes whose answers were lost are few."""


class Plan(Value, frozen=True):
    """What follows from a document, and from what a relay has."""

    added: ByScope
    """What is in force on this relay, of the exceptions of commands."""
    shared: ByScope
    """What the document says after that."""
    notes: FleetNotes
    """To be noted with it; `notes.version` is the version to write."""
    is_written: bool
    """Whether the document has to be written before anything else is done."""
    is_old: bool
    """Whether the store has an older document than this relay has seen."""


def mark_of(exception: PolicyException) -> str:
    """Return what identifies an exception; the same in all versions of this program."""
    each = exception
    fields = (each.scope, each.use, each.reason, each.until, each.mx, each.ignores_dane)
    text = to_json((*fields, each.added_at, each.uid, each.relay))
    return blake2b(text.encode(), digest_size=_MARK_SIZE).hexdigest()


def marks_of(exceptions: ByScope) -> Mapping[Scope, str]:
    """Return the mark of each exception."""
    return {scope: mark_of(each) for scope, each in exceptions.items()}


def notes_of_fleet(notes: FleetNotes, keys: tuple[str, ...]) -> FleetNotes:
    """Return what notes say of the fleet with these keys: nothing, if it is another one.

    Then all exceptions of this relay are new to the fleet. A fleet changes its keys one by one.
    """
    if notes.keys == keys:
        return notes
    is_same = not {*notes.keys}.isdisjoint(keys)
    return replace(notes, keys=keys) if is_same else FleetNotes(keys=keys)


def lowest_version(local: ByScope, notes: FleetNotes) -> int:
    """Return above which version a relay needs the document; see `ReadExceptions`.

    A relay that has lost an exception needs the one that it has seen once more.
    """
    is_complete = all(scope in local or scope in notes.removed for scope in notes.marks)
    return notes.version if is_complete else notes.version - 1


def changed(before: ByScope, after: ByScope) -> frozenset[Scope]:
    """Return the scopes of which two have different exceptions."""
    return frozenset(s for s in {**before, **after} if before.get(s) != after.get(s))


def applied(command: Changes, exceptions: ByScope) -> ByScope:
    """Do what a command asks for."""
    return {scope: each for scope, each in {**exceptions, **command}.items() if each}


def noted(command: Changes, local: ByScope, notes: FleetNotes) -> FleetNotes:
    """Note what a command removes or replaces that a fleet may have, which does not answer.

    Notes without keys are those of a relay that is in no fleet, and never was.
    """
    gone = {scope: mark_of(local[scope]) for scope in command if scope in local}
    if not notes.keys or not gone:
        return notes
    before = notes.removed
    more = {s: (*before.get(s, ()), mark)[-_REMOVALS:] for s, mark in gone.items()}
    removed = {**before, **more}
    # What the fleet had, and the latest of what it may have: a write whose answer was lost.
    sure = {scope: marks for scope, marks in removed.items() if scope in notes.marks}
    others = [each for each in removed.items() if each[0] not in notes.marks]
    return replace(notes, removed={**sure, **dict(others[-EXCEPTIONS_LIMIT:])})


def joined(
    found: ByScope, notes: FleetNotes, of_fleet: ByScope, fleet_notes: FleetNotes
) -> tuple[ByScope, FleetNotes]:
    """Return what is in force, and noted, after the disk of a relay could be read at last.

    `of_fleet` and `fleet_notes` are what the fleet has said until then.
    """
    notes = notes_of_fleet(notes, fleet_notes.keys) if fleet_notes.version else notes
    if fleet_notes.version < max(notes.version, 1):
        return found, notes
    seen = replace(fleet_notes, marks=marks_of(of_fleet), removed=notes.removed)
    return merged(found, _seen_before(notes, fleet_notes.version, of_fleet), of_fleet), seen


def plan(
    local: ByScope, notes: FleetNotes, document: Document, command: Changes = NO_CHANGES
) -> Plan:
    """Say what a relay does with a document: `local` is in force on it, with changes of commands.

    `command`: a change that is asked for now, and is later than all in the document. For a document
    without exceptions see `ReadExceptions`: its version is not higher.
    """
    added, seen, marks = local, notes.marks, None
    if document.exceptions is not None and document.version >= notes.version:
        content = {each.scope: each for each in document.exceptions}
        added = merged(local, _seen_before(notes, document.version, content), content)
        seen = marks = marks_of(content)
    elif document.version == notes.version:
        marks = notes.marks
    added = applied(command, added)
    shared = _fitting(added, seen)
    wanted = marks_of(shared)
    highest = max(document.version, notes.version)
    # A version has one content: that which was seen under this number, or a higher number.
    is_known = wanted == (notes.marks if marks is None else marks)
    version = highest if is_known else highest + 1
    is_written = bool(version) and (marks is None or not is_known)
    kept = FleetNotes(version, notes.keys, wanted)
    return Plan(added, shared, kept, is_written, 0 < document.version < notes.version)


def _seen_before(notes: FleetNotes, version: int, document: ByScope) -> FleetNotes:
    """Return the notes by which a document is merged.

    If it has the number of the last one and another content, a store has lost that one, as one does
    that is switched to a replica. What was seen in it says nothing of changes then: it is as though
    nothing had been seen, so that neither of the two loses anything.
    """
    is_other = version == notes.version and marks_of(document) != notes.marks
    return replace(notes, marks={}) if is_other else notes


def written_again(made: Plan) -> Plan:
    """Return a plan that writes the document in any case, with a version of its own."""
    if made.is_written:
        return made
    notes = replace(made.notes, version=made.notes.version + 1)
    return replace(made, notes=notes, is_written=True)


def merged(local: ByScope, notes: FleetNotes, document: ByScope) -> ByScope:
    """Put what commands have changed on this relay into the exceptions of a newer document."""
    ours = {scope: local.get(scope) for scope in (*document, *local)}
    chosen = {s: _chosen(s, each, document.get(s), notes) for s, each in ours.items()}
    return {scope: each for scope, each in chosen.items() if each}


def _chosen(
    scope: Scope, ours: PolicyException | None, theirs: PolicyException | None, notes: FleetNotes
) -> PolicyException | None:
    """Which of two counts that a relay and the document have for a scope; None: neither."""
    seen = notes.marks.get(scope)
    if ours is None:
        known = (seen, *notes.removed[scope]) if scope in notes.removed else ()
        return None if theirs is None or mark_of(theirs) in known else theirs
    if mark_of(ours) == seen:
        return theirs
    if theirs is None or mark_of(theirs) == seen:
        return ours
    return ours if (ours.added_at or 0.0) > (theirs.added_at or 0.0) else theirs


def _fitting(added: ByScope, seen: Mapping[Scope, str]) -> ByScope:
    """Return what a document has room for, those first that were in it; others stay here."""
    if len(added) <= EXCEPTIONS_LIMIT:
        return added
    first = sorted(added, key=lambda scope: (scope not in seen, added[scope].added_at or 0.0))
    return {scope: added[scope] for scope in first[:EXCEPTIONS_LIMIT]}
