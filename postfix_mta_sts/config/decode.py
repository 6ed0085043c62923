"""What YAML holds → a struct of settings, checked key by key.

Border: the shape of what was read against the types of the struct's attributes, and the words in
which it is refused; which keys there are, `config` says. `where` is the path of a key, "" for the
whole document.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Final, NoReturn, TypeVar, get_args, get_origin

from msgspec import Struct, ValidationError, convert
from msgspec.structs import FieldInfo, fields

from postfix_mta_sts.config.field_types import FieldType
from postfix_mta_sts.config.yaml_document import DocumentError, Node

_SHOWN_MOST: Final = 80

_StructT = TypeVar("_StructT", bound=Struct)


class ConflictError(ValueError):
    """A value is good by itself, but not with the others beside it; raised by construction."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key}: {reason}")
        self.key = key
        self.reason = reason


def decode_struct(cls: type[_StructT], node: Node, where: str = "") -> _StructT:
    """The struct that `node` holds. Raises `DocumentError` at the first thing that is wrong."""
    known = {f.name: f for f in fields(cls)}
    allowed = f"allowed: {', '.join(known)}"
    given = {}
    entries = _entries(node, where, f"the keys {', '.join(known)}")
    for key, value in entries.items():
        at = _at(where, key)
        if key not in known:
            _refuse(value, at, f"unknown key; {allowed}")
        if value.value is not None or get_origin(known[key].type) is Annotated:
            given[key] = _attribute(known[key], value, at)  # an empty section says nothing
    try:
        return cls(**given)
    except ConflictError as misfit:
        _refuse(entries.get(misfit.key, node), _at(where, misfit.key), misfit.reason)


def _attribute(attribute: FieldInfo, node: Node, where: str) -> object:
    """The value that `node` is; of a mapping by name, together with the defaults."""
    if get_origin(attribute.type) is not Mapping:
        return _read(attribute.type, node, where)
    entries = _entries(node, where, "map names and their dress")
    _, kind = get_args(attribute.type)
    given = {name: _read(kind, each, _at(where, name)) for name, each in entries.items()}
    return {**attribute.default_factory(), **given}


def _read(kind: object, node: Node, where: str) -> object:
    """The value that `node` is, as one of the type `kind`."""
    if isinstance(kind, type) and issubclass(kind, Struct):
        return decode_struct(kind, node, where)
    if get_origin(kind) is tuple:
        if not isinstance(node.value, tuple):
            _refuse(node, where, f"found {_shown(node)}; allowed: a list")
        each = get_args(kind)[0]
        return tuple(_read(each, item, f"{where}[{i}]") for i, item in enumerate(node.value))
    return _leaf(kind, node, where)


def _leaf(kind: object, node: Node, where: str) -> object:
    written = next(m for m in get_args(kind) if isinstance(m, FieldType))
    try:
        return written.read(node.value) if written.read else convert(node.value, kind)
    except (ValidationError, ValueError) as error:
        said = "" if isinstance(error, ValidationError) else str(error)  # the words of msgspec
        reason = f": {said}" if said else ""
        _refuse(node, where, f"found {_shown(node)}{reason}; allowed: {written.allowed}")


def _entries(node: Node, where: str, allowed: str) -> Mapping[str, Node]:
    if node.value is None:
        return {}
    if not isinstance(node.value, Mapping):
        _refuse(node, where, f"found {_shown(node)}; allowed: {allowed}")
    return node.value


def _at(where: str, key: str) -> str:
    name = key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else repr(key)
    return f"{where}.{name}" if where else name


def _shown(node: Node) -> str:
    """What was found, in one line, without a password if it is a URL with one."""
    match node.value:
        case None:
            return "nothing"
        case bool(value):
            return str(value).lower()
        case str(value):
            text = repr(re.sub(r"//[^/@]*@", "//...@", value))
            return text if len(text) <= _SHOWN_MOST else f"{text[:_SHOWN_MOST]}..."
        case Mapping():
            return "a mapping"
        case tuple():
            return "a list"
    return str(node.value)


def _refuse(node: Node, where: str, reason: str) -> NoReturn:
    raise DocumentError(node.line, f"{where}: {reason}" if where else reason, node.source)
