"""Turn a YAML document into a struct of settings, and check it key by key.

This module compares a document with the types of the struct, and words the errors. The keys are
defined in `settings`, the notation of single values in `field_types`. The parameter `where` is the
path of a key, such as `listen[0].mode`; it is empty for the whole document.
"""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Final, NoReturn, TypeVar, get_args, get_origin

from msgspec import Struct, ValidationError, convert
from msgspec.structs import FieldInfo, fields

from postfix_mta_sts.config import advice, foreign_keys
from postfix_mta_sts.config.field_types import FieldType
from postfix_mta_sts.config.yaml_document import DocumentError, Errors, Node

_SHOWN_LIMIT: Final = 80

_StructT = TypeVar("_StructT", bound=Struct)


class ConflictError(ValueError):
    """Valid values do not go together with another one; raised by a struct's constructor."""

    def __init__(self, keys: Sequence[str], reason: str) -> None:
        super().__init__(f"{', '.join(keys)}: {reason}")
        self.keys = keys
        self.reason = reason


def decode_struct(cls: type[_StructT], node: Node, where: str = "") -> _StructT:
    """Decode `node` into a struct.

    Raises `DocumentError`, with all errors that do not depend on each other.
    """
    known = {f.name: f for f in fields(cls)}
    given = {}
    if not isinstance(node.value, Mapping | None):
        allowed = f"the keys {', '.join(known)}{_as_section(cls, node.value)}"
        _refuse(node, where, f"found {_show(node)}; allowed: {allowed}")
    entries = _entries(node, where)
    errors = Errors()
    for key, value in entries.items():
        path = _join(where, key)
        with errors.collect():
            if key not in known:
                _refuse(value, path, _unknown_key(cls, key, path, value.source))
            # An empty section keeps its defaults; an empty value is null.
            if value.value is not None or get_origin(known[key].type) is Annotated:
                given[key] = _decode_field(known[key], value, path)
    errors.check()
    try:
        return cls(**given)
    except ConflictError as conflict:
        for key in conflict.keys:
            with errors.collect():
                _refuse(entries.get(key, node), _join(where, key), conflict.reason)
        errors.check()
        raise


def _unknown_key(cls: type[Struct], key: str, path: str, source: str) -> str:
    names = [f.name for f in fields(cls)]
    sections = {f.name: f.type for f in fields(cls)}
    below = {
        name: [f.name for f in fields(kind)]
        for name, kind in sections.items()
        if isinstance(kind, type) and issubclass(kind, Struct)
    }
    instead = foreign_keys.instead(path)
    hint = f"; {instead}" if instead else advice.meant(key, names, below, is_variable=bool(source))
    return f"unknown key{hint}; allowed: {', '.join(names)}"


def _as_section(cls: type[Struct], value: object) -> str:
    """Return `; write {key: value}` for the first key of a section that has room for the value."""
    names = [f.name for f in fields(cls)]
    if isinstance(value, tuple):
        return "; write the keys without -"
    if isinstance(value, str) and (pair := advice.as_pair(value, names)):
        return pair
    for field in fields(cls) if not isinstance(value, bool) else ():
        if found := next((m for m in get_args(field.type) if isinstance(m, FieldType)), None):
            meant = advice.accepted(value, partial(_read, found, field.type))
            if meant is not None:
                return f"; write {{{field.name}: {meant}}}"
    return ""


def _decode_field(field: FieldInfo, node: Node, where: str) -> object:
    """Decode the value of a field; a mapping by name is merged with its defaults."""
    if get_origin(field.type) is not Mapping:
        return _decode(field.type, node, where)
    entries = _entries(node, where)
    _, kind = get_args(field.type)
    decoded, errors = dict(field.default_factory()), Errors()
    for name, each in entries.items():
        with errors.collect():
            decoded[name] = _decode(kind, each, _join(where, name))
    errors.check()
    return decoded


def _decode(kind: object, node: Node, where: str) -> object:
    """Decode a struct, a list or a single value."""
    if isinstance(kind, type) and issubclass(kind, Struct):
        return decode_struct(kind, node, where)
    if get_origin(kind) is tuple:
        return tuple(_decode_items(get_args(kind)[0], node, where))
    return _decode_value(kind, node, where)


def _decode_items(kind: object, node: Node, where: str) -> list[object]:
    if not isinstance(node.value, tuple):
        hint = _as_list(kind, node)
        _refuse(node, where, f"found {_show(node)}; allowed: a list{hint}")
    decoded, errors = [], Errors()
    for i, item in enumerate(node.value):
        with errors.collect():
            decoded.append(_decode(kind, item, f"{where}[{i}]"))
    errors.check()
    return decoded


def _as_list(kind: object, node: Node) -> str:
    value = node.value
    if isinstance(value, Mapping):
        return f"; write - before {next(iter(value), 'the first key')}"
    if isinstance(kind, type) and issubclass(kind, Struct):
        item = _as_section(kind, value).removeprefix("; write ")
        return f"; write [{item}]" if item else ""
    items = re.split(r"[,\s]+", value) if isinstance(value, str) else [str(value)]
    return f"; write [{', '.join(items)}]" if isinstance(value, str | int) else ""


def _read(field_type: FieldType, kind: object, value: object) -> object:
    return field_type.read(value) if field_type.read else convert(value, kind)


def _decode_value(kind: object, node: Node, where: str) -> object:
    field_type = next(m for m in get_args(kind) if isinstance(m, FieldType))
    read = partial(_read, field_type, kind)
    try:
        return read(node.value)
    except (ValidationError, ValueError) as error:
        # The text of a ValidationError is msgspec's, and names Python types.
        text = "" if isinstance(error, ValidationError) else str(error)
        reason = f": {text}" if text else ""
        found = f"found {_show(node)}{reason}; allowed: {field_type.allowed}"
        _refuse(node, where, found + advice.replacement(node.value, read))


def _entries(node: Node, where: str) -> Mapping[str, Node]:
    if node.value is None:
        return {}
    if not isinstance(node.value, Mapping):
        _refuse(node, where, f"found {_show(node)}; allowed: map names with their settings")
    return node.value


def _join(where: str, key: str) -> str:
    name = key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else repr(key)
    return f"{where}.{name}" if where else name


def _show(node: Node) -> str:
    """Show a value in one short line, without the password of a URL."""
    match node.value:
        case None:
            return "nothing"
        case bool(value):
            return str(value).lower()
        case str(value):
            text = repr(re.sub(r"[^/@\s]+@", "...@", value))
            return text if len(text) <= _SHOWN_LIMIT else f"{text[:_SHOWN_LIMIT]}..."
        case Mapping():
            return "a mapping"
        case tuple():
            return "a list"
    return str(node.value)


def _refuse(node: Node, where: str, reason: str) -> NoReturn:
    raise DocumentError(node.line, f"{where}: {reason}" if where else reason, node.source)
