"""Variables of the environment → the keys of the configuration that they set.

Border: names and places; what a key may hold is not known here. `POSTFIX_MTA_STS__HTTPS__TIMEOUT`
is `https.timeout`: keys in capitals, two underscores between levels, and a value in YAML, as in
the file. Only a map's name is written as it is, for in it capitals count.

With one underscore behind the prefix a variable is not ours: Kubernetes makes such
(`POSTFIX_MTA_STS_PORT`) for a service of the daemon's name.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from postfix_mta_sts.config import yaml_document
from postfix_mta_sts.config.yaml_document import DocumentError, Node

PREFIX: Final = "POSTFIX_MTA_STS__"

_PLAIN = re.compile(r"[!-~]{1,200}")


def apply_environment(root: Node, environ: Mapping[str, str]) -> Node:
    """The document, with each variable's value in the place of what stood at its key.

    A variable for one key wins over one for the section around it. Raises `DocumentError`, which
    names the variable, also if its name is none that a key can have.
    """
    names = sorted(name for name in environ if name.startswith(PREFIX))
    for name in sorted(names, key=lambda name: name.count("__")):
        root = _put(root, _path(name), _value(name, environ[name]), name)
    return root


def _path(name: str) -> Sequence[str]:
    words = name.removeprefix(PREFIX).split("__")
    in_maps = words[0] == "MAPS"
    if any(word != word.upper() for i, word in enumerate(words) if not (in_maps and i == 1)):
        raise DocumentError(1, "keys are written in capitals here", _shown(name))
    return [word if in_maps and i == 1 else word.lower() for i, word in enumerate(words)]


def _value(name: str, text: str) -> Node:
    try:
        return _from(_shown(name), yaml_document.read(text))
    except DocumentError as error:
        raise DocumentError(error.line, str(error), _shown(name)) from None


def _put(node: Node, path: Sequence[str], value: Node, name: str) -> Node:
    """The node, with the value at the end of the path; sections that are not there are made."""
    if not path:
        return value
    entries = {} if node.value is None else node.value
    if not isinstance(entries, Mapping):
        where = f"line {node.line}" if not node.source else node.source
        raise DocumentError(1, f"{path[0]}: there are no keys in what {where} says", _shown(name))
    below = entries.get(path[0], Node(None, 1, _shown(name)))
    return replace(node, value={**entries, path[0]: _put(below, path[1:], value, name)})


def _from(source: str, node: Node) -> Node:
    """The same node, and all that is in it, as coming from there."""
    value = node.value
    if isinstance(value, Mapping):
        value = {key: _from(source, each) for key, each in value.items()}
    elif isinstance(value, tuple):
        value = tuple(_from(source, each) for each in value)
    return Node(value, node.line, source)


def _shown(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else ascii(name[:200])
