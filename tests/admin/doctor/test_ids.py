"""The list of ids has those that rules give to findings, and no other."""

import ast
from collections.abc import Iterator
from pathlib import Path

from postfix_mta_sts.admin.doctor import rules
from postfix_mta_sts.admin.doctor.ids import IDS

FOLDER = Path(rules.__file__).parent


def texts() -> Iterator[str]:
    """All texts in the source of the rules, but not parts of others."""
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def given() -> Iterator[str]:
    """The ids that rules pass to `Finding` as they are."""
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Finding":
                [first, *_] = node.args
                if isinstance(first, ast.Constant):
                    yield str(first.value)


def test_each_id_is_listed() -> None:
    """A new finding has a place in the order."""
    found = set(given())
    assert len(found) > 20
    assert found <= set(IDS)


def test_each_listed_id_is_found() -> None:
    """An id that no rule has any more is not listed."""
    assert set(IDS) - set(texts()) == set()
