"""Set keys of the configuration from environment variables.

`POSTFIX_MTA_STS__HTTPS__TIMEOUT` sets `https.timeout`: the name has the keys in capitals, with two
underscores between levels; the value is YAML, as in the file. Only the name of a socketmap map
keeps its case, because `QUERY` and `query` are different maps. Which keys exist, and which values
they accept, is checked later by `decode`.

Variables with one underscore after the prefix are ignored: Kubernetes sets such variables
(`POSTFIX_MTA_STS_PORT`) for a service with the name of the daemon.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from postfix_mta_sts.config import yaml_document
from postfix_mta_sts.config.shorthands import complete, write_out
from postfix_mta_sts.config.yaml_document import DocumentError, Errors, Node

PREFIX: Final = "POSTFIX_MTA_STS__"

_PRINTABLE = re.compile(r"[!-~]{1,200}")


def apply_environment(root: Node, environ: Mapping[str, str], errors: Errors) -> Node:
    """Return a copy of the document in which each variable has set its key, without `shorthands`.

    A variable for a key overrides a variable for the section of the key. `errors` collects those of
    variables, also of a name that no key can have.
    """
    names = sorted(name for name in environ if name.startswith(PREFIX))
    for name in sorted(names, key=lambda name: name.count("__")):
        with errors.collect():
            root = _put(write_out(root), _path(name), _value(name, environ[name]), name)
    return complete(write_out(root))


def _path(name: str) -> Sequence[str]:
    words = name.removeprefix(PREFIX).split("__")
    in_maps = words[0] == "MAPS"
    if any(word != word.upper() for i, word in enumerate(words) if not (in_maps and i == 1)):
        raise DocumentError(1, "write the keys in the variable's name in capitals", _show(name))
    return [word if in_maps and i == 1 else word.lower() for i, word in enumerate(words)]


def _value(name: str, text: str) -> Node:
    try:
        return _with_source(_show(name), yaml_document.read(text))
    except DocumentError as first:
        for error in (first, *first.more):
            error.source = _show(name)
        raise


def _put(node: Node, path: Sequence[str], value: Node, name: str) -> Node:
    """Return a copy of `node` with `value` at the end of `path`; create missing sections."""
    if not path:
        return value
    entries = {} if node.value is None else node.value
    if not isinstance(entries, Mapping):
        where = f"line {node.line}" if not node.source else node.source
        reason = f"{path[0]}: cannot be set, because {where} has a value instead of keys"
        raise DocumentError(1, reason, _show(name))
    below = entries.get(path[0], Node(None, 1, _show(name)))
    return replace(node, value={**entries, path[0]: _put(below, path[1:], value, name)})


def _with_source(source: str, node: Node) -> Node:
    """Return a copy of the node, and of all nodes in it, with another source."""
    value = node.value
    if isinstance(value, Mapping):
        value = {key: _with_source(source, each) for key, each in value.items()}
    elif isinstance(value, tuple):
        value = tuple(_with_source(source, each) for each in value)
    return Node(value, node.line, source)


def _show(name: str) -> str:
    return name if _PRINTABLE.fullmatch(name) else ascii(name[:200])
