"""Makes the report of what was seen: all rules, in order, each finding once. Pure."""

from collections.abc import Iterable, Iterator
from itertools import chain
from types import ModuleType
from typing import Final

from postfix_mta_sts.admin.doctor.commands import pasteable
from postfix_mta_sts.admin.doctor.conclusion import exit_code, sentence
from postfix_mta_sts.admin.doctor.facts import facts
from postfix_mta_sts.admin.doctor.order import merged, sorted_, without_effects
from postfix_mta_sts.admin.doctor.report import Finding, Report
from postfix_mta_sts.admin.doctor.rules import (
    authorities,
    clock,
    configuration,
    daemon,
    dane,
    fleet,
    level,
    main_cf,
    maps,
    outward,
    resolver,
    routing,
    servers,
    services,
    store,
    tables,
    tlsrpt,
)
from postfix_mta_sts.admin.doctor.snapshot import Snapshot
from postfix_mta_sts.values import replace

_MODULES: Final[tuple[ModuleType, ...]] = (
    main_cf,
    maps,
    servers,
    tables,
    services,
    authorities,
    level,
    dane,
    resolver,
    routing,
    tlsrpt,
    daemon,
    configuration,
    store,
    clock,
    fleet,
    outward,
)
RULES: Final = tuple(chain.from_iterable(each.RULES for each in _MODULES))


def judge(snapshot: Snapshot) -> Report:
    """Say what is wrong, what was not seen, and what there is."""
    found = sorted_(merged(_named(snapshot, without_effects(_found(snapshot)))))
    findings = tuple(replace(each, mend=pasteable(each.mend)) for each in found)
    unseen = tuple(dict.fromkeys(snapshot.unseen))
    helps_root = not snapshot.is_root and not snapshot.main_cf_file
    return Report(
        snapshot.version,
        snapshot.now,
        exit_code(findings),
        sentence(findings, unseen, helps_root=helps_root),
        findings,
        unseen,
        tuple(facts(snapshot)),
    )


def _found(snapshot: Snapshot) -> Iterator[Finding]:
    return chain.from_iterable(rule(snapshot) for rule in RULES)


def _named(snapshot: Snapshot, findings: Iterable[Finding]) -> Iterator[Finding]:
    """The name of an instance only where there are several."""
    is_alone = len(snapshot.instances) == 1
    return (replace(each, instance="") if is_alone else each for each in findings)
