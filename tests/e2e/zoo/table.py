"""The table in docs/diagnosis.md: each domain of the zoo, and what becomes of its mail."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.e2e.zoo.animal import Animal, Wish
from tests.e2e.zoo.keeping import Seen

PAGE: Final = Path(__file__).parents[3] / "docs/diagnosis.md"
BEGIN: Final = "<!-- zoo: begin -->"
END: Final = "<!-- zoo: end -->"

PLAIN: Final = "postfix"
TLSRPT: Final = "QUERYwithTLSRPT"
ROUNDS: Final = (("3.7", PLAIN), ("3.7", TLSRPT), ("3.10", PLAIN), ("3.10", TLSRPT))
"""Version of Postfix and map name."""

_HEAD: Final = (
    "| domain | what is special | 3.7 | 3.7, TLSRPT | 3.10 | 3.10, TLSRPT | RFC 8461 | `query` |",
    "|---|---|---|---|---|---|---|---|",
)
_VARYING: Final = (
    (re.compile(r"\b20\d\d-\d\d-\d\d\b"), "DATE"),
    (re.compile(r"\bexpired 23 hours ago\b"), "expired 1 day ago"),
    (re.compile(r"\b127\.0\.4\.\d+\b"), "ADDRESS"),
    (re.compile(r"\S+-\d+\.test\b"), "DOMAIN"),  # with U-labels
)


@dataclass(frozen=True, slots=True)
class Row:
    """One domain: what Postfix does in each round, and what the command says of the last one."""

    animal: Animal
    domain: str
    seen: Mapping[tuple[str, str], Seen]
    sentence: str


def lines(rows: list[Row]) -> Iterator[str]:
    """The table in Markdown."""
    yield from _HEAD
    for row in rows:
        outcomes = (_outcome(row.seen[each]) for each in ROUNDS)
        what = row.animal.what.replace("{d}", "DOMAIN")
        wish = "" if row.animal.rfc is Wish.NOTHING else row.animal.rfc
        cells = (f"`{row.animal.name}`", what, *outcomes, wish, _sentence(row))
        yield f"| {' | '.join(cells)} |"


def with_table(text: str, table: list[str]) -> str:
    """Return the page with this table in the place of the one that it has."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    assert before != text, f"no line {BEGIN}"
    return "\n".join([before + BEGIN, "", *table, "", END + after])


def _outcome(seen: Seen) -> str:
    return "sent" if seen.status == "sent" else f"{seen.status} {seen.dsn}"


def _sentence(row: Row) -> str:
    """What the command says, without what differs from run to run."""
    text = re.sub(re.escape(row.domain), "DOMAIN", row.sentence, flags=re.IGNORECASE)
    for pattern, word in _VARYING:
        text = pattern.sub(word, text)
    return text.replace("|", r"\|")
