"""The daemon and all that it is made of, as wheels for a Debian's own Python.

Fetched by this machine's pip, so that within a tree or an image nothing needs a package index.
"""

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

from tests.e2e.trees import NoTreeError

ROOT: Final = Path(__file__).parents[2]

PYTHONS: Final = {"bookworm": "3.11", "trixie": "3.13"}
"""Debian release → its Python."""


def wheels(suite: str, folder: Path, *others: str) -> Path:
    """`folder`, with the wheels for a release: the daemon, what it needs, what builds it, `others`.

    Raises `NoTreeError` where pip cannot have them.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    needed = project["project"]["dependencies"] + project["build-system"]["requires"] + [*others]
    chosen = ["--only-binary=:all:", "--python-version", PYTHONS[suite]]
    constraint = ["--constraint", str(ROOT / "constraints.txt")]
    _pip("download", *chosen, *constraint, "--dest", str(folder), *needed)
    _pip("wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT))
    return folder


def _pip(*words: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise NoTreeError(f"pip {words[0]}: {done.stderr[-3000:]}")
