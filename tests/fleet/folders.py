"""Folders of stores and relays; those of one name may be needed one after the other."""

import contextlib
import itertools
from pathlib import Path


def new_folder(wanted: Path) -> Path:
    """Make this folder, or one with a number after its name if it exists; return which."""
    wanted.parent.mkdir(parents=True, exist_ok=True)
    made = wanted
    for number in itertools.count(2):
        with contextlib.suppress(FileExistsError):
            made.mkdir()
            break
        made = wanted.with_name(f"{wanted.name}-{number}")
    return made
