"""What rules of `doctor` find in a snapshot."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from postfix_mta_sts.admin.doctor.report import Effect, Finding
from postfix_mta_sts.admin.doctor.snapshot import Snapshot

Rule: TypeAlias = Callable[[Snapshot], Iterator[Finding]]


def found(rules: Sequence[Rule], snapshot: Snapshot) -> list[Finding]:
    """Return all findings of these rules."""
    return [each for rule in rules for each in rule(snapshot)]


def ids(rules: Sequence[Rule], snapshot: Snapshot) -> list[str]:
    """Return their ids."""
    return [each.id for each in found(rules, snapshot)]


def only(rules: Sequence[Rule], snapshot: Snapshot) -> Finding:
    """Return the one finding of these rules; fails if there is none, or another one."""
    [finding] = found(rules, snapshot)
    return finding


def the_one(rules: Sequence[Rule], snapshot: Snapshot, id_: str, effect: Effect) -> Finding:
    """Return the only finding, which has this id and effect."""
    finding = only(rules, snapshot)
    assert (finding.id, finding.effect) == (id_, effect)
    return finding
