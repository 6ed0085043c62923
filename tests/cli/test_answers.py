"""The answer of the daemon in words."""

import pytest

from postfix_mta_sts.cli import answers

LONG = "OK secure match=mx1.good.test policy_type=sts policy_domain=good.test"


@pytest.mark.parametrize(
    ("answer", "why", "word", "sentence"),
    [
        ("secure", "enforce", "secure", "secure"),
        ("secure", "testing", "secure", "secure: mode testing is enforced in the map postfix"),
        ("dane-only", "dane", "dane-only", "dane-only"),
        ("try-again", "policy-unknown", "try-again", "try-again"),
        ("not-found", "testing", "testing", "not found: the policy is in mode testing, "),
        ("not-found", "none", "none", "not found: the policy is in mode none"),
        ("not-found", "no-policy", "no policy", "not found: no policy is in force"),
        ("not-found", "dane", "main.cf", "not found: level dane of main.cf stays in force"),
    ],
)
def test_answer(answer: str, why: str, word: str, sentence: str) -> None:
    """What Postfix is told has a word for the list and a sentence for one domain."""
    known = {"answer": answer, "why": why}
    assert answers.answer(known) == word
    assert answers.explained(known).startswith(sentence)


def test_nothing_is_answered() -> None:
    """There is no word for an answer that waits for the network."""
    assert answers.answer({"answer": None, "why": None}) is None


def test_replies() -> None:
    """Each reply is shown once, the shortest first, with its maps; long ones may be cut."""
    told = [("tls", LONG), ("postfix", LONG[:29]), ("QUERY", LONG[:29]), ("other", None)]
    known = {"replies": [{"map": name, "reply": reply} for name, reply in told]}
    lines = [
        ("reply", "the next look-up asks the network first"),
        ("", "in map other"),
        ("reply", "OK secure match=mx1.good.test"),
        ("", "in maps postfix, QUERY"),
        ("reply", LONG),
        ("", "in map tls"),
    ]
    assert list(answers.replies(known, shortened=False)) == lines
    cut = "OK secure match=mx1.good.test policy_type=sts ... (+23 characters)"
    assert ("reply", cut) in answers.replies(known, shortened=True)
    known = {"replies": known["replies"][1:3]}
    assert list(answers.replies(known, shortened=True)) == [lines[2]]
