"""Parse YAML into values that know their line numbers.

This module reads YAML with the core schema of YAML 1.2 (§10.3), decimal numbers only, so that a
value is what it looks like: `0660`, `22:22`, `yes` and `off` are text. It refuses tags, aliases
and duplicate keys. It does not know which keys the configuration has.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

import yaml

Scalar = bool | int | float | str | None

MAX_DEPTH: Final = 20
"""Levels of nested collections: more than any configuration needs, and far from the recursion limit
of Python."""
_HINTS: Final[Mapping[str, str]] = {
    r"'\t'": "; indent with spaces instead of tabs",
    "mapping values are not allowed": "; check the indentation, or write the value in quotes",
    "could not find expected ':'": "; write a colon and a space after each key",
    "<block end>": "; check the indentation",
    "found unexpected end of stream": "; a quote is missing",
    "expected the node content, but found ':'": "; write the value in quotes",  # [::1]
    "'`'": "; write the value in quotes",
    "'@'": "; write the value in quotes",
}
"""What to do about errors that PyYAML describes from the parser's side."""
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[-+]?(?:[0-9]{1,18}\.[0-9]{0,18}|\.[0-9]{1,18})(?:[eE][-+]?[0-9]{1,2})?")


@dataclass(frozen=True, slots=True)
class Node:
    """A value and its line, counted from 1; a value in a mapping has the line of its key."""

    value: "Scalar | Sequence[Node] | Mapping[str, Node]"
    line: int
    source: str = ""
    """The text that the line belongs to: a variable's name, or empty for the document itself."""


class DocumentError(Exception):
    """The text is not YAML, or uses YAML that this module does not support.

    `str()` is the reason; `line` and `source` have the meaning that they have in `Node`.
    """

    def __init__(self, line: int, reason: str, source: str = "") -> None:
        super().__init__(reason)
        self.line = line
        self.source = source
        self.more: Sequence[DocumentError] = ()
        """Further errors, which do not depend on this one."""


class Errors:
    """Collects errors, so that a person sees all of them at once."""

    def __init__(self) -> None:
        self._found: list[DocumentError] = []

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Keep a `DocumentError`, with `more`, that ends the context."""
        try:
            yield
        except DocumentError as error:
            self._found += [error, *error.more]
            error.more = ()

    def check(self) -> None:
        """Raise the first error, by line, with the others in `more`, if there is one."""
        if self._found:
            first, *others = sorted(self._found, key=lambda error: (error.source, error.line))
            first.more = others
            raise first


def read(text: str) -> Node:
    """Parse a text that contains one document; an empty text is null.

    Raises `DocumentError`, and no other error.
    """
    events: Iterator[yaml.Event] = yaml.parse(text, Loader=yaml.SafeLoader)
    try:
        return _document(events)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise DocumentError(line, f"not YAML: character U+{error.character:04X}") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        reason = ": ".join(filter(None, ("not YAML", error.context, error.problem)))
        reason += next((hint for sign, hint in _HINTS.items() if sign in reason), "")
        raise DocumentError(line, reason) from None
    except (ValueError, OverflowError):  # PyYAML 6.0 at an escape like "\UFFFFFFFF"
        raise DocumentError(1, r"not YAML: a \U escape that is not a character") from None


def _document(events: Iterator[yaml.Event]) -> Node:
    root: Node | None = None
    for event in events:
        if isinstance(event, yaml.NodeEvent):
            if root:
                raise DocumentError(
                    _line(event),
                    "a second document; the configuration is one document, without ---",
                )
            root = _node(event, events, MAX_DEPTH)
    return root or Node(None, 1)


def _node(event: yaml.Event, events: Iterator[yaml.Event], depth: int) -> Node:
    """Return the value that starts with `event`; read the rest of it from `events`."""
    line = _line(event)
    if not depth:
        raise DocumentError(line, f"nested more than {MAX_DEPTH} levels deep")
    match event:
        case yaml.MappingStartEvent(tag=None):
            return Node(_mapping(events, depth), line)
        case yaml.SequenceStartEvent(tag=None):
            return Node(tuple(_node(e, events, depth - 1) for e in _members(events)), line)
        case yaml.ScalarEvent(tag=None):
            return Node(_scalar(event), line)
    raise DocumentError(line, "aliases (*) and tags (!) are not supported; write the value itself")


def _mapping(events: Iterator[yaml.Event], depth: int) -> Mapping[str, Node]:
    found: dict[str, Node] = {}
    for key in _members(events):
        if not isinstance(key, yaml.ScalarEvent) or key.tag:
            raise DocumentError(_line(key), "a key must be plain text")
        if key.value in found:
            first = found[key.value].line
            raise DocumentError(
                _line(key), f"duplicate key {key.value!r}; it is already set in line {first}"
            )
        value = _node(next(events), events, depth - 1).value
        found[key.value] = Node(value, _line(key))
    return found


def _members(events: Iterator[yaml.Event]) -> Iterator[yaml.Event]:
    """Yield the events up to the end of the current collection."""
    return takewhile(lambda event: not isinstance(event, yaml.CollectionEndEvent), events)


def _scalar(event: yaml.ScalarEvent) -> Scalar:
    text, plain = event.value, event.implicit[0]
    if not plain:
        return text
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1
