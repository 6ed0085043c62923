"""Findings without those that another one explains, each said once, the worst first. Pure.

None of the functions depends on the order of what it is given. The worst effect is never lost: a
cause hides no effect that is worse than itself.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Final

from postfix_mta_sts.admin.doctor.commands import then_run
from postfix_mta_sts.admin.doctor.ids import IDS
from postfix_mta_sts.admin.doctor.report import Effect, Finding
from postfix_mta_sts.values import replace

_MAIN_CF_BROKEN: Final = "main-cf-broken"
"""It hides all else of its instance: nothing of that was read."""
_MAP_MISSING: Final = frozenset({"map-missing"})
"""Of a service that asks for its policies at a wrong place."""
HIDDEN_BY: Final[Mapping[str, frozenset[str]]] = {
    "daemon-stopped": frozenset(
        {
            "map-wrong-address",
            "map-denied",
            "map-foreign",
            "daemon-hangs",
            "control-missing",
        }
    ),
    "daemon-hangs": frozenset({"map-wrong-address", "map-foreign", "control-missing"}),
    "config-invalid": frozenset({"config-not-loaded"}),
    "parameter-unused": _MAP_MISSING,
    "map-syntax": _MAP_MISSING,
    "map-type": _MAP_MISSING,
    "map-wrong-address": _MAP_MISSING,
    "map-chroot-path": _MAP_MISSING,
    "map-host-unresolvable": _MAP_MISSING,
    "map-wrong-protocol": _MAP_MISSING,
    "map-foreign": _MAP_MISSING,
    "map-in-pipemap": frozenset({"map-on-trial", "table-before-answers"}),
    "map-missing": frozenset({"map-name-plain", "map-on-trial", "table-before-answers"}),
    "ca-file-missing": frozenset({"ca-none", "ca-path-in-chroot"}),
    "dane-without-dnssec": frozenset({"resolver-not-validating"}),
    "resolver-silent": frozenset({"resolv-conf-differs", "resolver-not-validating"}),
}
"""Effects by their cause; there is no circle. Those of causes that are hidden are hidden, too."""

_BADNESS: Final = {Effect.HELD: 0, Effect.UNPROTECTED: 1, Effect.NONE: 2}
_POSITIONS: Final = {id_: position for position, id_ in enumerate(IDS)}


def without_effects(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Leave out what others explain, on the same instance and for all services of the finding."""
    every = tuple(findings)
    return tuple(each for each in every if not _is_explained(each, every))


def merged(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Say once what is the same for several services, or for several instances.

    The command then runs those of each, and `instance` has all names, divided by commas.
    """
    by_instance = _joined(findings, lambda each: (each.instance, *_said(each)), _of_services)
    return tuple(_joined(by_instance, lambda each: (each.services, *_said(each)), _of_instances))


def sorted_(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Those that hold mail, those that leave it unprotected, warnings; then as `IDS` has them."""
    return tuple(sorted(findings, key=_place))


def _is_explained(finding: Finding, findings: Sequence[Finding]) -> bool:
    causes = [each for each in findings if _explains(each, finding)]
    explained = set(chain.from_iterable(each.services for each in causes))
    are_all = bool(finding.services) and explained.issuperset(finding.services)
    return are_all or any(not each.services for each in causes)


def _explains(cause: Finding, effect: Finding) -> bool:
    """Whether it does for the services of the cause."""
    if _BADNESS[cause.effect] > _BADNESS[effect.effect]:
        return False
    if cause.id == _MAIN_CF_BROKEN:
        return effect.id != _MAIN_CF_BROKEN and effect.instance == cause.instance
    is_there = not cause.instance or not effect.instance or cause.instance == effect.instance
    return is_there and effect.id in HIDDEN_BY.get(cause.id, ())


def _joined(
    findings: Iterable[Finding],
    key: Callable[[Finding], Hashable],
    join: Callable[[Sequence[Finding]], Finding],
) -> Iterator[Finding]:
    """One finding for all that have the same key."""
    groups: dict[Hashable, list[Finding]] = {}
    for each in sorted_(findings):
        groups.setdefault(key(each), []).append(each)
    return map(join, groups.values())


def _said(finding: Finding) -> tuple[str, ...]:
    return finding.id, finding.effect, finding.what, finding.why


def _of_services(findings: Sequence[Finding]) -> Finding:
    are_all = any(not each.services for each in findings)
    names = chain.from_iterable(each.services for each in findings)
    services = () if are_all else tuple(sorted(set(names)))
    return replace(findings[0], services=services, mend=_mend(findings))


def _of_instances(findings: Sequence[Finding]) -> Finding:
    are_all = any(not each.instance for each in findings)
    names = "" if are_all else ", ".join(each.instance for each in findings)
    return replace(findings[0], instance=names, mend=_mend(findings))


def _mend(findings: Sequence[Finding]) -> str:
    """The different commands, one after the other."""
    return then_run(*dict.fromkeys(each.mend for each in findings))


def _place(finding: Finding) -> tuple[object, ...]:
    position = _POSITIONS.get(finding.id, len(IDS))
    rest = (finding.id, finding.instance, finding.services, finding.what, finding.why, finding.mend)
    return _BADNESS[finding.effect], position, *rest
