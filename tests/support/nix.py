"""Reads the part of the Nix language that a list of settings is written in.

Attribute sets, lists, strings in double quotes, numbers and booleans; all else is a word, as it is
written. Nix itself reads the whole files in tests/e2e/test_nixos.py.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

_TOKEN: Final = re.compile(r'\s+|#[^\n]*|"(?:[^"\\]|\\.)*"|[={};\[\]]|[^\s={};\[\]"]+')
_IGNORED: Final = re.compile(r"\s|#")


def value_of(text: str, name: str) -> Any:  # noqa: ANN401 - as from a JSON document
    """Return the value of the first attribute of this name, anywhere in the text."""
    found = re.search(rf"(?m)^\s*{re.escape(name)} =\s", text)
    assert found, f"no {name}"
    return _value(_tokens(text[found.end() :]))


def _tokens(text: str) -> Iterator[str]:
    return (token for token in _TOKEN.findall(text) if not _IGNORED.match(token))


def _value(tokens: Iterator[str]) -> Any:  # noqa: ANN401
    match next(tokens):
        case "{":
            return dict(_attributes(tokens))
        case "[":
            return list(_elements(tokens))
        case word:
            return _scalar(word)


def _attributes(tokens: Iterator[str]) -> Iterator[tuple[str, Any]]:
    while (name := next(tokens)) != "}":
        assert next(tokens) == "="
        yield name, _value(tokens)
        assert next(tokens) == ";"


def _elements(tokens: Iterator[str]) -> Iterator[Any]:
    while (token := next(tokens)) != "]":
        yield _scalar(token)


def _scalar(word: str) -> str | int | bool:
    if word.startswith('"'):
        return re.sub(r"\\(.)", r"\1", word[1:-1])
    if word in {"true", "false"}:
        return word == "true"
    return int(word) if word.isdecimal() else word
