"""docs/diagnosis.md has every word that `query` prints for programs, and every label."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from postfix_mta_sts.mtasts.errors import DiscoveryError, FetchError
from postfix_mta_sts.mtasts.mistakes.names import NEAR_RECORD, NEAR_TLSRPT
from postfix_mta_sts.mtasts.mistakes.policy_line import FIELDS
from tests.docs.blocks import ROOT

PAGE: Final = (ROOT / "docs/diagnosis.md").read_text("utf-8")
DIAGNOSIS: Final = ROOT / "postfix_mta_sts/admin/diagnosis"
MISTAKES: Final = ROOT / "postfix_mta_sts/mtasts/mistakes"
CAUSES: Final = ("by_exception", "causes", "conclude", "held", "nowhere")
"""The modules that make verdicts."""
NO_CAUSES: Final = {"all", "forever", "held", "later", "none", "unknown", "unverified"}
"""Words in the code that look like a cause."""
PREFIXES: Final = {"record.py": ["record-"], "tlsrpt.py": ["tlsrpt-"]}
"""File of a TXT record → prefix of its codes; `txt.py` is for both."""
MAKERS: Final = {"Wrong", "Repair", "of", "Mistake", "_mistake", "_mx", "_form", "mistake"}
"""Calls whose first argument is a code."""
WORD: Final = re.compile(r"[a-z][a-z]+(?:-[a-z0-9]+)*")


def chapter(title: str) -> str:
    """The text below a heading of the page."""
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def first_column(title: str) -> list[str]:
    """The words in code type in the first column of the tables of a chapter."""
    cells = re.findall(r"^\| (`[^|]+?) \|", chapter(title), re.MULTILINE)
    return re.findall(r"`([^`]+)`", " ".join(cells))


def parsed(path: Path) -> Iterator[ast.AST]:
    """All parts of a module."""
    return ast.walk(ast.parse(path.read_text("utf-8")))


def is_word(node: ast.AST) -> bool:
    """Whether it is a text that may be a word for programs."""
    text = node.value if isinstance(node, ast.Constant) else None
    return isinstance(text, str) and bool(WORD.fullmatch(text))


def causes() -> set[str]:
    """The values of `verdict.cause`."""
    paths = [DIAGNOSIS / f"{name}.py" for name in CAUSES]
    words = {ast.literal_eval(node) for path in paths for node in parsed(path) if is_word(node)}
    errors = {kind.code for base in (DiscoveryError, FetchError) for kind in base.__subclasses__()}
    return (words | errors) - NO_CAUSES - {"no-record"}


def codes() -> set[str]:
    """The codes of mistakes; some are made of a prefix, or of the name of a field."""
    names = [field.replace("_", "-") for field in FIELDS]
    found = {*NEAR_RECORD, *NEAR_TLSRPT, *(f"missing-{name}" for name in names)}
    found |= {f"misspelt-{name}" for name in names}
    for path in MISTAKES.glob("*.py"):
        both = ["record-", "tlsrpt-"] if path.name == "txt.py" else [""]
        for word in filter(is_word, (part for node in parsed(path) for part in parts(node))):
            found |= {p + ast.literal_eval(word) for p in PREFIXES.get(path.name, both)}
    return found


def parts(node: ast.AST) -> Iterator[ast.AST]:
    """Where a code may be: the first argument of a call, the first of several values."""
    match node:
        case ast.Call(func=ast.Name(id="next"), args=[_, ast.Tuple(elts=[code, *_])]):
            yield code
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=[code, *_]):
            if name in MAKERS:
                yield code
        case ast.Return(value=ast.Tuple(elts=[code, *_])):
            yield code
        case ast.Dict(values=values):
            yield from (value.elts[0] for value in values if isinstance(value, ast.Tuple))


def labels() -> set[str]:
    """The labels of the lines that `query` prints for people."""
    text = "".join((DIAGNOSIS / f"{name}.py").read_text("utf-8") for name in ("text", "smtp_text"))
    return {*re.findall(r'(?:Line\(|yield |_lines\()"([A-Za-z()0-9 ]+)",', text)}


@pytest.mark.parametrize(("title", "words"), [("Causes", causes()), ("Mistakes", codes())])
def test_words(title: str, words: set[str]) -> None:
    """Each word of the code is in the table, once, and no other."""
    named = first_column(title)
    assert sorted(named) == sorted(words)


def test_labels() -> None:
    """Each label is explained, and the example has no other."""
    table = chapter("What the lines mean")
    cells = re.findall(r"^\| ([^|`]+?) \|", table.replace(r"\|", ""), re.MULTILINE)
    explained = {name for cell in cells for name in cell.split(", ")}
    assert len(labels()) > 20
    assert labels() - explained == set()
    example = re.findall(r"^      ([A-Za-z]\S*(?: \d+)?)  ", PAGE, re.MULTILINE)
    assert {"fault", "answer", "SMTP", "message"} <= set(example) <= explained


def test_mark_of_the_zoo() -> None:
    """The test of the zoo finds where to write its table."""
    assert re.search(r"<!-- zoo: begin -->\n.*<!-- zoo: end -->\n", PAGE, re.DOTALL)
