"""Turn a YAML document into a struct of settings, and check it key by key.

This module compares a document with the types of the struct, and words the errors. The keys are
defined in `settings`, the notation of single values in `field_types`. The parameter `where` is the
path of a key, such as `listen[0].mode`; it is empty for the whole document.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial, reduce
from typing import Annotated, Final, NoReturn, TypeVar, get_args, get_origin

from msgspec import Struct, ValidationError, convert
from msgspec.structs import FieldInfo, fields

from postfix_mta_sts.config import advice, foreign_keys
from postfix_mta_sts.config.field_types import FieldType
from postfix_mta_sts.config.shorthands import SWITCHES
from postfix_mta_sts.config.yaml_document import DocumentError, Errors, Node

_SHOWN_LIMIT: Final = 80

_StructT = TypeVar("_StructT", bound=Struct)


class ConflictError(ValueError):
    """Valid values do not go together with another one; raised by a struct's constructor.

    A key in a mapping by name is a tuple: the key of the mapping, and the name.
    """

    def __init__(self, keys: Sequence[str | tuple[str, str]], reason: str) -> None:
        self.paths = [(key,) if isinstance(key, str) else key for key in keys]
        self.reason = reason
        super().__init__(f"{', '.join('.'.join(path) for path in self.paths)}: {reason}")


def decode_struct(cls: type[_StructT], node: Node, where: str = "") -> _StructT:
    """Decode `node` into a struct.

    Raises `DocumentError`, with all errors that do not depend on each other.
    """
    known = {f.name: f for f in fields(cls)}
    given = {}
    if not isinstance(node.value, Mapping | None):
        switch = "true, false, or " if where in SWITCHES else ""
        allowed = f"{switch}the keys {', '.join(known)}{_as_section(cls, node.value)}"
        found = _show(node, is_secret=_has_secrets(cls))
        _refuse(node, where, f"found {found}; allowed: {allowed}")
    entries = _entries(node, where)
    errors = Errors()
    for key, value in entries.items():
        path = _join(where, key)
        with errors.collect():
            if key not in known:
                _refuse_unknown(cls, key, value, where)
            # An empty section keeps its defaults; an empty value is null.
            if value.value is not None or get_origin(known[key].type) is Annotated:
                given[key] = _decode_field(known[key], value, path)
    _refuse_missing(cls, given, errors, node, where)
    errors.check()
    try:
        return cls(**given)
    except ConflictError as conflict:
        for keys in conflict.paths:
            with errors.collect():
                _refuse(_below(node, keys), reduce(_join, keys, where), conflict.reason)
        errors.check()
        raise


def _refuse_missing(
    cls: type[Struct], given: Mapping[str, object], errors: Errors, node: Node, where: str
) -> None:
    """Refuse a section without a key that it needs."""
    refused = _entries(node, where)
    for each in fields(cls):
        if each.required and each.name not in given and each.name not in refused:
            with errors.collect():
                _refuse(node, _join(where, each.name), f"missing; allowed: {_allowed(each.type)}")


def _below(node: Node, path: Sequence[str]) -> Node:
    """Return the node at a path, or the last one on the way that is there."""
    for key in path:
        if not isinstance(node.value, Mapping) or key not in node.value:
            break
        node = node.value[key]
    return node


def _refuse_unknown(cls: type[Struct], key: str, node: Node, where: str) -> NoReturn:
    """Refuse a key. One that may be a part of a password, after its comma, is not shown."""
    path, hint = _join(where, key), _hint(cls, key, _join(where, key), node.source)
    is_meant = hint.startswith((";", ", perhaps"))
    shown = path if is_meant or node.source or not _has_secrets(cls) else where
    names = ", ".join(f.name for f in fields(cls))
    _refuse(node, shown, f"unknown key{hint}; allowed: {names}")


def _hint(cls: type[Struct], key: str, path: str, source: str) -> str:
    """Return what to write in place of a key, or what may be meant."""
    if instead := foreign_keys.instead(path):
        return f"; {instead}"
    sections = {f.name: f.type for f in fields(cls)}
    below = {
        name: [f.name for f in fields(kind)]
        for name, kind in sections.items()
        if isinstance(kind, type) and issubclass(kind, Struct)
    }
    return advice.meant(key, [*sections], below, is_variable=bool(source))


def _as_section(cls: type[Struct], value: object) -> str:
    """Return `; write {key: value}` for the first key of a section that has room for the value."""
    names = [f.name for f in fields(cls)]
    if isinstance(value, tuple):
        return "; write the keys without -"
    if _has_secrets(cls):
        return ""
    if isinstance(value, str) and (pair := advice.as_pair(value, names)):
        return pair
    for field in fields(cls) if not isinstance(value, bool) else ():
        if found := next((m for m in get_args(field.type) if isinstance(m, FieldType)), None):
            meant = advice.accepted(value, partial(_read, found, field.type))
            if meant is not None:
                return f"; write {{{field.name}: {meant}}}"
    return ""


def _has_secrets(cls: type[Struct]) -> bool:
    """Whether what stands in the place of a section may be a secret."""
    metadata = (m for field in fields(cls) for m in get_args(field.type))
    return any(isinstance(m, FieldType) and m.is_secret for m in metadata)


def _decode_field(field: FieldInfo, node: Node, where: str) -> object:
    """Decode the value of a field; a mapping by name is merged with its defaults."""
    if get_origin(field.type) is not Mapping:
        return _decode(field.type, node, where)
    name_kind, kind = get_args(field.type)
    entries = _entries(node, where, _allowed(name_kind))
    decoded, errors = dict(field.default_factory()), Errors()
    names = dict[object, str]()
    for name, each in entries.items():
        with errors.collect():
            _decode_name(name_kind, replace(each, value=name), where, names)
        with errors.collect():
            decoded[name] = _decode(kind, each, _join(where, name))
    errors.check()
    return decoded


def _decode_name(kind: object, node: Node, where: str, names: dict[object, str]) -> None:
    """Refuse a name that is not of its kind, or that is the same as an earlier one in `names`."""
    if get_origin(kind) is Annotated:
        name = str(node.value)
        first = names.setdefault(_decode_value(kind, node, where), name)
        if first != name:
            _refuse(node, _join(where, name), f"the same domain as {first!r}; keep one of them")


def _allowed(kind: object) -> str:
    """Return which values of a kind are allowed; of names the empty text, if there is no rule."""
    return next((m.allowed for m in get_args(kind) if isinstance(m, FieldType)), "")


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
    if isinstance(value, str) and "@" in value:  # a password may be before it
        return ""
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
        shown, is_secret = _show(node, is_secret=field_type.is_secret), field_type.is_secret
        found = f"found {shown}{reason}; allowed: {field_type.allowed}"
        _refuse(node, where, found + ("" if is_secret else advice.replacement(node.value, read)))


def _entries(node: Node, where: str, names: str = "") -> Mapping[str, Node]:
    """Return the entries of a mapping; `names` says which ones it may have."""
    if node.value is None:
        return {}
    if not isinstance(node.value, Mapping):
        allowed = f"{names}, with its settings" if names else "map names with their settings"
        _refuse(node, where, f"found {_show(node)}; allowed: {allowed}")
    return node.value


def _join(where: str, key: str) -> str:
    name = key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else repr(_without_passwords(key))
    return f"{where}.{name}" if where else name


def _show(node: Node, *, is_secret: bool = False) -> str:  # noqa: PLR0911 (a return for each type)
    """Show a value in one short line, without the password of a URL; of a secret its kind."""
    if is_secret and isinstance(node.value, str | int | float):
        return "a value"
    match node.value:
        case None:
            return "nothing"
        case bool(value):
            return str(value).lower()
        case str(value):
            text = repr(_without_passwords(value))
            return text if len(text) <= _SHOWN_LIMIT else f"{text[:_SHOWN_LIMIT]}..."
        case Mapping():
            return "a mapping"
        case tuple():
            return "a list"
    return str(node.value)


def _without_passwords(text: str) -> str:
    """Replace what may be a password: the word that ends with an @, or all before it in a URL."""
    text = re.sub(r"://.*@", "://...@", text, flags=re.DOTALL)
    *before, last = text.split("@")
    kept = (part[: len(part) - len(re.split(r"[/\s]", part)[-1])] for part in before)
    return "".join([*(f"{each}...@" for each in kept), last])


def _refuse(node: Node, where: str, reason: str) -> NoReturn:
    raise DocumentError(node.line, f"{where}: {reason}" if where else reason, node.source)
