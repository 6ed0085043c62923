"""The exit code, and the sentence that says all."""

import pytest

from postfix_mta_sts.admin.doctor.conclusion import exit_code, sentence
from postfix_mta_sts.admin.doctor.report import Effect, Finding, Unseen

HELD, OPEN, WARNING = (
    Finding("x", effect, "what", "why", "mend")
    for effect in (Effect.HELD, Effect.UNPROTECTED, Effect.NONE)
)
UNSEEN = Unseen("the control socket", "not allowed")


@pytest.mark.parametrize(
    ("findings", "code"),
    [((), 0), ((WARNING,), 1), ((WARNING, OPEN), 2), ((HELD,), 2), ((HELD, OPEN, WARNING), 2)],
)
def test_exit_code(findings: tuple[Finding, ...], code: int) -> None:
    """0, 1 for warnings alone, 2 for mail that is held or unprotected."""
    assert exit_code(findings) == code


@pytest.mark.parametrize(
    ("findings", "unseen", "text"),
    [
        ((), 0, "All is well"),
        ((), 1, "Nothing is wrong in what could be seen; 1 thing was not seen"),
        ((), 4, "Nothing is wrong in what could be seen; 4 things were not seen"),
        ((HELD,), 0, "1 fault holds mail"),
        ((OPEN, OPEN), 0, "2 faults leave mail unprotected"),
        ((OPEN,), 0, "1 fault leaves mail unprotected"),
        ((WARNING,), 0, "1 warning"),
        (
            (HELD, HELD, OPEN, WARNING, WARNING),
            1,
            "2 faults hold mail; 1 fault leaves mail unprotected; 2 warnings; 1 thing was not seen",
        ),
    ],
)
def test_sentence(findings: tuple[Finding, ...], unseen: int, text: str) -> None:
    """It counts what was found by effect, and never says that what was not seen is well."""
    assert sentence(findings, (UNSEEN,) * unseen, helps_root=False) == text


def test_root_would_see_more() -> None:
    """A plain user is told how to see the rest."""
    text = sentence((), (UNSEEN,), helps_root=True)
    assert text == "Nothing is wrong in what could be seen; 1 thing was not seen (run as root)"
