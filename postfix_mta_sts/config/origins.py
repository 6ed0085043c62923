"""Where each setting comes from: a line of the file, an environment variable, or the default."""

from collections.abc import Iterator, Mapping
from typing import Final

from postfix_mta_sts.config import yaml_document
from postfix_mta_sts.config.environment import apply_environment
from postfix_mta_sts.config.yaml_document import Errors, Node

DEFAULT: Final = "default"


class Origins:
    """The places of all keys that a file and variables set, with or without errors.

    `text` is that of the file, and `source` its name.
    """

    def __init__(self, text: str, source: str, environ: Mapping[str, str]) -> None:
        root = yaml_document.read_all(text, Errors()) or Node(None, 1)
        root = apply_environment(root, environ, Errors())
        nodes = dict(_walk(root))
        self._places = {key: each.source or f"{source}:{each.line}" for key, each in nodes.items()}
        self.lines = {key: each.line for key, each in nodes.items() if not each.source}
        """The line of each key that the file sets, and no variable."""

    def of(self, key: str) -> str:
        """Return `FILE:LINE`, the name of a variable, or `DEFAULT`; `key` is like `listen[0]`."""
        return self._places.get(key, DEFAULT)

    def nearest(self, key: str) -> str:
        """Return the place of the key, else that of the section that should have it."""
        while key not in self._places and key:
            key = key[: max(key.rfind("."), key.rfind("["), 0)]
        return self._places.get(key, DEFAULT)


def _walk(node: Node, where: str = "") -> Iterator[tuple[str, Node]]:
    if where:
        yield where, node
    if isinstance(node.value, Mapping):
        for name, below in node.value.items():
            yield from _walk(below, f"{where}.{name}" if where else name)
    elif isinstance(node.value, tuple):
        for i, item in enumerate(node.value):
            yield from _walk(item, f"{where}[{i}]")
