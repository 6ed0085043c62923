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
from typing import Final, TypeAlias

import yaml

Scalar = bool | int | float | str | None
Value: TypeAlias = "Scalar | Sequence[Node] | Mapping[str, Node]"

MAX_DEPTH: Final = 20
"""Levels of nested collections: more than any configuration needs, and far from the recursion limit
of Python."""
_STAR: Final = "write what begins with * in quotes, like '*.example.com'"
_HINTS: Final[Mapping[str, str]] = {
    r"'\t'": "indent with spaces instead of tabs",
    "mapping values are not allowed": "check the indentation, and the colon of the line before; or"
    " write the value in quotes",
    "could not find expected ':'": "write a colon and a space after each key",
    "but found '}'": "a bracket is too many, or one is missing before it",
    "alphabetic or numeric character, but found ']'": _STAR,  # [*]
    "but found ']'": "a bracket is too many, or one is missing before it",
    "<block end>": "check the indentation",
    "expected '<document start>'": "check the indentation, and write a colon after each key",
    "scanning a quoted scalar": "a quote is missing; the text begins in {start}",
    "expected ',' or ']'": "write ] after the list that begins in {start}, and commas in it",
    "expected ',' or '}'": "write } after the mapping that begins in {start}, and commas in it",
    "a double-quoted scalar": r"write \\ for a backslash, or the value in single quotes",
    "scanning a directive": "no line may begin with %",
    "node content, but found ':'": "write the value in quotes",
    "node content, but found '<stream end>'": "a value or a bracket is missing",
    "expected the node content": "a value is missing, or a comma is too many",
    "cannot start any token": "write the value in quotes",
    "scanning an alias": _STAR,
    "scanning an anchor": "write the value in quotes",
    "scanning a block scalar": "write the value in quotes",
    "scanning a tag": "write the value in quotes",
}
"""What to do about errors that PyYAML describes from the parser's side; the first that fits."""
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[-+]?(?:[0-9]{1,18}\.[0-9]{0,18}|\.[0-9]{1,18})(?:[eE][-+]?[0-9]{1,2})?")


@dataclass(frozen=True, slots=True)
class Node:
    """A value and its line, counted from 1; a value in a mapping has the line of its key."""

    value: Value
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
            self.add(error)

    def add(self, error: DocumentError) -> None:
        """Keep an error, with `more`."""
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

    Raises `DocumentError`, with all errors, and no other error.
    """
    errors = Errors()
    root = read_all(text, errors)
    errors.check()
    return root or Node(None, 1)


def read_all(text: str, errors: Errors) -> Node | None:
    """Parse a text as `read` does; add what is wrong to `errors`, and leave it out.

    None if the text is not YAML: nothing is read after such an error.
    """
    try:
        return _Reader(yaml.parse(text, Loader=yaml.SafeLoader), errors).document()
    except DocumentError as error:
        errors.add(error)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        reason = f"not YAML: character U+{error.character:04X}; remove it"
        errors.add(DocumentError(line, reason))
    except yaml.MarkedYAMLError as error:
        errors.add(_syntax_error(error))
    except (ValueError, OverflowError):  # PyYAML 6.0 at an escape like "\UFFFFFFFF"
        errors.add(DocumentError(1, r"not YAML: a \U escape that is not a character"))
    return None


def _syntax_error(error: yaml.MarkedYAMLError) -> DocumentError:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    start = error.context_mark or mark
    reason = ": ".join(filter(None, ("not YAML", error.context, error.problem)))
    reason += f" (column {column})"
    if hint := next((hint for sign, hint in _HINTS.items() if sign in reason), ""):
        place = f"line {start.line + 1}, column {start.column + 1}" if start else "line 1"
        reason += f"; {hint}".replace("{start}", place)
    return DocumentError(line, reason)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Turns events into values; what is not supported goes to `errors`, and is left out."""

    events: Iterator[yaml.Event]
    errors: Errors

    def document(self) -> Node:
        root: Node | None = None
        for event in self.events:
            if isinstance(event, yaml.NodeEvent):
                if root:
                    reason = "a second document; the configuration is one document, without ---"
                    self._refuse(event, reason)
                    break
                root = self._node(event, MAX_DEPTH) or Node(None, 1)
        return root or Node(None, 1)

    def _node(self, event: yaml.Event, depth: int) -> Node | None:
        """Return the value that starts with `event`; read the rest of it from the events."""
        node = Node(self._value(event, depth), _line(event))
        if getattr(event, "tag", "an alias") is None:
            return node
        reason = "aliases (*) and tags (!) are not supported; write the value itself"
        self._refuse(event, reason)
        return None

    def _value(self, event: yaml.Event, depth: int) -> Value:
        if depth < 1:
            raise DocumentError(_line(event), f"nested more than {MAX_DEPTH} levels deep")
        match event:
            case yaml.MappingStartEvent():
                return self._mapping(depth)
            case yaml.SequenceStartEvent():
                items = (self._node(item, depth - 1) for item in self._members())
                return tuple(item for item in items if item)
            case yaml.ScalarEvent():
                return _scalar(event)
        return None

    def _mapping(self, depth: int) -> Mapping[str, Node]:
        found: dict[str, Node] = {}
        for key in self._members():
            name = self._key(key, depth)
            node = self._node(next(self.events), depth - 1)
            if name is None or node is None:
                continue
            node = Node(node.value, _line(key))
            if first := found.get(name):
                shown = name.rpartition("@")[2]  # a part of a URL with a password may be a key
                reason = f"duplicate key {shown!r}; it is already set in line {first.line}"
                self._refuse(key, reason)
                node = _merged(first, node)
            found[name] = node
        return found

    def _key(self, event: yaml.Event, depth: int) -> str | None:
        if isinstance(event, yaml.ScalarEvent) and not event.tag:
            return event.value
        self._value(event, depth - 1)
        hint = f"; {_STAR}" if isinstance(event, yaml.AliasEvent) else ""
        self._refuse(event, f"a key must be plain text{hint}")
        return None

    def _members(self) -> Iterator[yaml.Event]:
        """Yield the events up to the end of the current collection."""
        return takewhile(lambda event: not isinstance(event, yaml.CollectionEndEvent), self.events)

    def _refuse(self, event: yaml.Event, reason: str) -> None:
        self.errors.add(DocumentError(_line(event), reason))


def _merged(first: Node, second: Node) -> Node:
    """Return the values of a key that is set twice, so that the errors of both are found."""
    if isinstance(first.value, Mapping) and isinstance(second.value, Mapping):
        return Node({**second.value, **first.value}, first.line)
    return first


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
