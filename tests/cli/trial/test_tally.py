"""The sums of a trial, and its last sentence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.admin.findings import Finding, Outcome
from postfix_mta_sts.cli.trial.tally import HELD, NOT_KNOWN, NOTHING_HELD, Tally
from tests.cli.trial.findings import NOW, finding, held

OPEN = (
    "Switching on now would hold mail to 1 of 5 domains with a policy, as far as is known: "
    "3 not checked yet, 1 without a result"
)
NO_POLICIES = (
    "Switching on now would hold no mail: none of 3 domains has a policy that can be had; "
    "as far as is known: 1 without an answer of the DNS"
)


def tally(*findings: Finding) -> Tally:
    """The sums of these."""
    made = Tally()
    for each in findings:
        made.add(each)
    return made


def some(outcome: Outcome, number: int = 1, **more: object) -> list[Finding]:
    """This number of findings with this outcome."""
    return [finding(f"d{n}.test", outcome, **more) for n in range(number)]


@pytest.mark.parametrize(
    ("findings", "sentence", "code"),
    [
        (
            [*some(Outcome.HELD, 2), *some(Outcome.DELIVERED, 1_309)],
            "Switching on now would hold mail to 2 of 1,311 domains with a policy",
            HELD,
        ),
        (
            some(Outcome.DELIVERED, 7),
            "Switching on now would hold mail to none of 7 domains with a policy",
            NOTHING_HELD,
        ),
        (
            some(Outcome.HELD, 1_200),
            "Switching on now would hold mail to all 1,200 domains with a policy",
            HELD,
        ),
        (
            some(Outcome.HELD),
            "Switching on now would hold mail to the one domain with a policy",
            HELD,
        ),
        (
            some(Outcome.NOT_ENFORCED),
            "Switching on now would hold no mail to the one domain with a policy",
            NOTHING_HELD,
        ),
        (
            [
                *some(Outcome.HELD),
                *some(Outcome.NOT_CHECKED, 3, why="never"),
                *some(Outcome.UNKNOWN),
            ],
            OPEN,
            HELD,
        ),
        (
            some(Outcome.NOT_CHECKED, 3, why="never"),
            "Nothing can be said yet: none of 3 domains with an enforced policy was checked yet",
            NOT_KNOWN,
        ),
        (
            some(Outcome.NOT_CHECKED, why="never"),
            "Nothing can be said yet: the one domain with an enforced policy was not checked yet",
            NOT_KNOWN,
        ),
        (
            [*some(Outcome.NOT_CHECKED, 8, why="never"), *some(Outcome.NOT_ENFORCED, 3)],
            "Nothing can be said yet: none of 8 domains with an enforced policy was checked yet",
            NOT_KNOWN,
        ),
        (
            some(Outcome.UNKNOWN, 2),
            "Nothing can be said yet: no check of 2 domains with an enforced policy could tell",
            NOT_KNOWN,
        ),
        (
            some(Outcome.UNANSWERED, 2),
            "Nothing can be said yet: 2 domains, 2 without an answer of the DNS",
            NOT_KNOWN,
        ),
        ([], "Nothing can be said yet: there is no domain with a policy", NOT_KNOWN),
        (
            [*some(Outcome.NO_POLICY, 2), *some(Outcome.UNFETCHED), *some(Outcome.UNANSWERED)],
            NO_POLICIES,
            NOTHING_HELD,
        ),
        (
            some(Outcome.NO_POLICY),
            "Switching on now would hold no mail: the one domain has no policy that can be had",
            NOTHING_HELD,
        ),
    ],
)
def test_sentence(findings: list[Finding], sentence: str, code: int) -> None:
    """It says what would be held, of how many, and what is not known."""
    made = tally(*findings)
    assert (made.sentence(), made.exit_code) == (sentence, code)


def test_lines() -> None:
    """Each outcome has a line with its reasons; the ages of the checks come last."""
    made = tally(
        held(checked_at=NOW - 7_200),
        held("b.test", cause="certificate-expired"),
        held("c.test"),
        *some(Outcome.NOT_ENFORCED, 2, why="testing"),
        *some(Outcome.NOT_ENFORCED, 1, why="dane"),
        *some(Outcome.NOT_CHECKED, 1, why="older-policy", checked_at=NOW - 99_999),
        *some(Outcome.UNFETCHED, 1, cause="status"),
        *some(Outcome.NO_POLICY, 1_000, cause="no-record"),
    )
    assert list(made.lines(NOW + 60)) == [
        ("held", "3: no-starttls 2, certificate-expired 1"),
        ("not checked", "1: not since the policy changed 1"),
        ("unchanged", "3: mode testing 2, DANE decides 1"),
        ("no policy", "1,000"),
        ("not fetched", "1: status 1"),
        ("checked", "the oldest 2h 1m ago, the last 1m ago"),
    ]


def test_one_check() -> None:
    """A single time is said once."""
    assert list(tally(held()).lines(NOW + 60))[-1] == ("checked", "1m ago")


@given(st.lists(st.sampled_from(Outcome)))
def test_any_findings(outcomes: list[Outcome]) -> None:
    """The exit code, the sentence and the counts never contradict each other."""
    made = tally(*(finding(outcome=each) for each in outcomes))
    said = made.sentence()
    no_policy_known = {Outcome.UNANSWERED, Outcome.PENDING}
    with_policy = set(Outcome) - no_policy_known - {Outcome.NO_POLICY, Outcome.UNFETCHED}
    assert made.with_policy == sum(each in with_policy for each in outcomes)
    if made.exit_code == NOTHING_HELD and {Outcome.UNKNOWN, Outcome.NOT_CHECKED} & set(outcomes):
        assert Outcome.DELIVERED in outcomes
    assert (made.exit_code == NOT_KNOWN) == said.startswith("Nothing can be said")
    assert (made.exit_code == HELD) == (Outcome.HELD in outcomes)
    is_open = {Outcome.UNKNOWN, Outcome.NOT_CHECKED, *no_policy_known} & set(outcomes)
    assert ("as far as is known" in said) == bool(is_open and made.exit_code != NOT_KNOWN)
