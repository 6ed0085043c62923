"""The wheels of all libraries, as the package for Debian and the image contain them.

Both are Debian 13, whatever this machine is: pip chooses for that Python and that C library.
"""

import hashlib
import platform
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from contrib.release.programs import output

PYTHON: Final = "3.13"
_GLIBC: Final = range(41, 16, -1)
"""Minor versions of the C library 2, for which a wheel may be built; Debian 13 has 2.41."""


def download(source: Path, folder: Path) -> Path:
    """Write the wheels into a new folder, in the versions of constraints.txt; return the folder."""
    project = tomllib.loads((source / "pyproject.toml").read_text("utf-8"))
    needed = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    for extra in project["project"]["optional-dependencies"].values():
        needed += extra
    system = [f"--platform=manylinux_2_{minor}_{platform.machine()}" for minor in _GLIBC]
    system += [f"--platform=manylinux2014_{platform.machine()}", f"--python-version={PYTHON}"]
    output(
        *(sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", *system),
        *("--constraint", source / "constraints.txt", "--dest", folder, *needed),
    )
    return folder


def hashes(folder: Path) -> dict[tuple[str, str], str]:
    """Name, as `normal` writes it, and version of each wheel → its SHA-256 sum."""
    return dict(_hashes(folder))


def _hashes(folder: Path) -> Iterator[tuple[tuple[str, str], str]]:
    for wheel in sorted(folder.glob("*.whl")):
        name, version, *_ = wheel.name.split("-")
        yield (normal(name), version), hashlib.sha256(wheel.read_bytes()).hexdigest()


def normal(name: str) -> str:
    """Return the name of a project as indexes write it (PEP 503)."""
    return name.lower().replace("_", "-").replace(".", "-")
