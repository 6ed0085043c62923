"""Write out what a document says in short: `trial: true`, and `trial: {dane: true}`.

Then each key has its own value and its own line, and the other modules know no short form.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from postfix_mta_sts.config.yaml_document import Node

SWITCHES: Final[Mapping[str, str]] = {"trial": "enabled"}
"""The key that true or false sets, if it stands in the place of a section."""


def write_out(root: Node) -> Node:
    """Return a copy of the document in which sections have keys in the place of true or false."""
    if not isinstance(root.value, Mapping):
        return root
    sections = dict(root.value)
    for section, key in SWITCHES.items():
        node = sections.get(section)
        if node and isinstance(node.value, bool):
            sections[section] = replace(node, value={key: node})
    return replace(root, value=sections)


def complete(root: Node) -> Node:
    """Return a copy of the document with what follows from others: DANE on trial is a trial."""
    sections = root.value
    trial = sections.get("trial") if isinstance(sections, Mapping) else None
    if not isinstance(sections, Mapping) or not trial or not isinstance(trial.value, Mapping):
        return root
    dane = trial.value.get("dane")
    if not dane or dane.value is not True or "enabled" in trial.value:
        return root
    completed = replace(trial, value={**trial.value, "enabled": dane})
    return replace(root, value={**sections, "trial": completed})
