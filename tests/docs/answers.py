"""Print the tables of docs/answers.md from `decide`: `python -m tests.docs.answers`."""

from collections.abc import Iterator
from itertools import product
from typing import Final, get_args

from postfix_mta_sts.mtasts.decision import DaneAnswer, Decision, Rules, decide
from postfix_mta_sts.values import replace
from tests.support.decisions import POLICIES, VERDICTS

COLUMNS: Final = {
    "enforced": ["enforce"],
    "not enforced": [
        "testing",
        "none",
        "no TXT record",
        "fetch failed",
        "GET not answered",
    ],
    "not known": [
        "DNS failed",
        "own fault",
        "store not read",
        "TXT not answered",
        "addresses not answered",
    ],
}
"""What is known of the policy, grouped by the names in `tests.support.decisions`."""

IN_PLACE: Final = {
    "enforced": [Decision.PIN],
    "not enforced": [Decision.NOT_FOUND],
    "`may`": [Decision.MAY, Decision.ENCRYPT],
    "not known": [],
}
"""What an exception or a trial may put in place of a policy, by column; in the page `may` stands
for `encrypt`, too, and a pin for the policy."""

_WORDS: Final = {
    Decision.SECURE: "the policy",
    Decision.PIN: "the policy",
    Decision.MAY: "`may`",
    Decision.ENCRYPT: "`may`",
    Decision.DANE_ONLY: "`dane-only`",
    Decision.DANE: "`dane`",
    Decision.NOT_FOUND: "not found",
    Decision.TRY_AGAIN_DANE: "try again",
    Decision.TRY_AGAIN_POLICY: "try again",
}


def tables() -> Iterator[str]:
    """Yield the lines of all tables."""
    for answer, on_failure in product(get_args(DaneAnswer), ("defer", "mta_sts")):
        yield f"### `dane.answer: {answer}`, `dane.on_failure: {on_failure}`"
        yield ""
        yield f"| verdict | policy {' | '.join(IN_PLACE)} |"
        yield "|---" * (1 + len(IN_PLACE)) + "|"
        rows: dict[tuple[str, ...], list[str]] = {}
        for verdict in VERDICTS:
            cells = tuple(cell(verdict, column, answer, on_failure) for column in IN_PLACE)
            rows.setdefault(cells, []).append(verdict)
        for cells, verdicts in rows.items():
            yield f"| {'; '.join(verdicts)} | {' | '.join(cells)} |"
        yield ""


def cell(verdict: str, column: str, answer: DaneAnswer, on_failure: str) -> str:
    """The answer for a column; with `dns.on_failure: defer` behind a slash if it differs.

    Raises `ValueError` if the policies of the column are not answered alike.
    """
    words = []
    for dns_defers in (False, True):
        rules = Rules(answer, on_failure == "defer", dns_defers)
        found = {
            _WORDS[decide(POLICIES[policy], VERDICTS[verdict], rules, time_is_up=True)]
            for policy in COLUMNS.get(column, ())
        }
        for policy, in_place in product(POLICIES.values(), IN_PLACE[column]):
            replaced = replace(rules, in_place=in_place)
            found.add(_WORDS[decide(policy, VERDICTS[verdict], replaced, time_is_up=True)])
        (word,) = found
        words.append(word)
    return words[0] if words[0] == words[1] else f"{words[0]} / {words[1]}"


if __name__ == "__main__":
    print("\n".join(tables()))  # noqa: T201 (a program)
