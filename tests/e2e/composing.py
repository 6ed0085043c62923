"""Runs Debian's docker-compose, which needs no engine to merge compose files.

It checks them against the schema of the Compose Specification, interpolates variables and says what
an engine would be asked for.
"""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

PACKAGES: Final = ("docker-compose",)
_ENTER: Final = 'mount --bind "$1" "$0/mnt" && shift && exec chroot "$0" "$@"'


class BadComposeError(Exception):
    """docker-compose refuses the files; `str()` is what it says."""


def merged(
    tree: Path,
    folder: Path,
    *names: str,
    variables: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """Return what the files of these names in a folder are together. Raises `BadComposeError`.

    `tree` is a Debian with `PACKAGES`.
    """
    files = [word for name in names for word in ("-f", f"/mnt/{name}")]
    command = ("docker-compose", "--project-name", "suite", *files, "config", "--format", "json")
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", _ENTER, tree, folder, *command],
        env={"PATH": os.environ["PATH"]} | dict(variables),
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise BadComposeError(done.stderr)
    said: dict[str, Any] = json.loads(done.stdout)
    return said
