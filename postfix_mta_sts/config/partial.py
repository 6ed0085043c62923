"""What is valid in a configuration with errors, so that a check can go on with that."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Final

from postfix_mta_sts.config import yaml_document
from postfix_mta_sts.config.decode import decode_struct
from postfix_mta_sts.config.environment import apply_environment
from postfix_mta_sts.config.settings import Settings
from postfix_mta_sts.config.yaml_document import DocumentError, Errors, Node

_ANY_PORT: Final = Node((Node({"socketmap": Node("127.0.0.1:0", 1)}, 1),), 1)
"""In the place of a `listen` with errors: an address that is always free."""


@dataclass(frozen=True, slots=True)
class Partial:
    """Settings with defaults in the place of what has errors."""

    settings: Settings
    left_out: AbstractSet[str] = frozenset()
    """The keys that have errors, such as `listen` or `cache.path`."""

    def has(self, key: str) -> bool:
        """Whether the value of a key, such as `listen[0].mode`, is the one of the configuration."""
        return not any(
            key == out or key.startswith((f"{out}.", f"{out}[")) for out in self.left_out
        )


def parse(text: str, environ: Mapping[str, str]) -> Partial | None:
    """Return what is valid; None if the text is not YAML, or has no sections."""
    errors = Errors()
    root = yaml_document.read_all(text, errors)
    root = root and apply_environment(root, environ, errors)
    if root is None or not isinstance(root.value, Mapping):
        return None
    kept, left_out = dict[str, Node](), set[str]()
    for section, node in root.value.items():
        valid, bad = _valid_part(section, node)
        left_out |= bad
        if valid:
            kept[section] = valid
    if "listen" in left_out:
        kept["listen"] = _ANY_PORT
    decoded = _decoded(kept)
    return Partial(decoded, left_out) if decoded else None


def _valid_part(section: str, node: Node) -> tuple[Node | None, AbstractSet[str]]:
    """Return what is valid of a section by itself, and the keys that are not."""
    if _is_valid(section, node):
        return node, set()
    keys = node.value if isinstance(node.value, Mapping) else {}
    good = {key: v for key, v in keys.items() if _is_valid(section, replace(node, value={key: v}))}
    if not good:
        return None, {section}
    return replace(node, value=good), {f"{section}.{key}" for key in keys if key not in good}


def _is_valid(section: str, node: Node) -> bool:
    return _decoded({"listen": _ANY_PORT, section: node}) is not None


def _decoded(sections: Mapping[str, Node]) -> Settings | None:
    try:
        return decode_struct(Settings, Node(sections, 1))
    except DocumentError:
        return None
