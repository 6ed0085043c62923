"""Wheels of the daemon and of its dependencies, for the Python of a Debian release.

The pip of this machine downloads them, so that a tree or an image needs no package index.
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
_FOR_MAKE: Final = ("pip>=25.1", "editables")
"""What `make serve` needs beside the daemon's dependencies."""
_FOR_REDIS: Final = ("async-timeout>=4.0.3",)
"""What redis-py needs on Debian 12's Python 3.11.2: pip decides by the version that it runs on."""
_FOR_INSTALL: Final = ("pipx>=1.7",)
"""What docs/install.md uses."""


def wheels(suite: str, folder: Path, group: str = "") -> Path:
    """Write wheels for a release into `folder`: the daemon, its dependencies, and its build.

    `group` is a dependency group that is needed too. Returns `folder`. Raises `NoTreeError` if pip
    cannot download them.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    needed = project["project"]["dependencies"] + project["build-system"]["requires"]
    for extra in project["project"]["optional-dependencies"].values():
        needed += extra  # the package for Debian and the image have them
    needed += _FOR_REDIS
    needed += project["dependency-groups"][group] if group else (*_FOR_MAKE, *_FOR_INSTALL)
    chosen = ["--only-binary=:all:", "--python-version", PYTHONS[suite]]
    constraint = ["--constraint", str(ROOT / "constraints.txt")]
    _pip("download", *chosen, *constraint, "--dest", str(folder), *needed)
    build(ROOT, folder)
    return folder


def build(checkout: Path, folder: Path) -> None:
    """Build the wheel of a checkout into `folder`. Raises `NoTreeError` if pip cannot."""
    _pip("wheel", "--no-deps", "--wheel-dir", str(folder), str(checkout))


def _pip(*words: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise NoTreeError(f"pip {words[0]}: {done.stderr[-3000:]}")
