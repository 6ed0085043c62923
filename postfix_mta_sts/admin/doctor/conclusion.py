"""The exit code of `doctor`, and the sentence that says all in one. Pure."""

from collections.abc import Iterator, Sequence

from postfix_mta_sts.admin.doctor.report import HARM, WARNINGS, WELL, Effect, Finding, Unseen


def exit_code(findings: Sequence[Finding]) -> int:
    """0: nothing was found, 1: only warnings, 2: mail is held or unprotected."""
    if any(each.effect is not Effect.NONE for each in findings):
        return HARM
    return WARNINGS if findings else WELL


def sentence(findings: Sequence[Finding], unseen: Sequence[Unseen], *, helps_root: bool) -> str:
    """Say how many findings there are of each effect, and whether something was not seen.

    `helps_root`: whether root would see more.
    """
    parts = [*_counted(findings), *_not_seen(unseen, helps_root=helps_root)]
    if findings:
        return "; ".join(parts)
    if unseen:
        return "; ".join(["Nothing is wrong in what could be seen", *parts])
    return "All is well"


def _counted(findings: Sequence[Finding]) -> Iterator[str]:
    held, unprotected, warnings = (
        sum(each.effect is effect for each in findings)
        for effect in (Effect.HELD, Effect.UNPROTECTED, Effect.NONE)
    )
    if held:
        yield f"{_number(held, 'fault holds', 'faults hold')} mail"
    if unprotected:
        yield f"{_number(unprotected, 'fault leaves', 'faults leave')} mail unprotected"
    if warnings:
        yield _number(warnings, "warning", "warnings")


def _not_seen(unseen: Sequence[Unseen], *, helps_root: bool) -> Iterator[str]:
    if unseen:
        advice = " (run as root)" if helps_root else ""
        yield f"{_number(len(unseen), 'thing was', 'things were')} not seen{advice}"


def _number(count: int, one: str, more: str) -> str:
    return f"{count} {one if count == 1 else more}"
