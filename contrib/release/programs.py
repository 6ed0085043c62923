"""Runs the programs that a build needs. What they print is shown only if they fail."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from contrib.release import ReleaseError

PACKAGES: Final = MappingProxyType(
    {"git": "git", "buildah": "buildah", "ssh-keygen": "openssh-client"}
)
"""Program → the package that has it, in Debian."""
_LAST_LINES: Final = 20


def need(program: str, purpose: str) -> None:
    """Raise `ReleaseError` if a program is not installed."""
    if not shutil.which(program):
        raise ReleaseError(f"{purpose} needs {program}: apt install {PACKAGES[program]}")


def output(
    *words: str | Path,
    folder: Path | None = None,
    environ: Mapping[str, str] = MappingProxyType({}),
    given: bytes = b"",
) -> bytes:
    """Return what a program prints; `given` is its input. Raises `ReleaseError` if it fails."""
    try:
        done = subprocess.run(
            words,
            cwd=folder,
            env={**os.environ, **environ},
            input=given,
            capture_output=True,
            check=False,
        )
    except OSError as error:
        raise ReleaseError(f"{words[0]}: {error}") from error
    if done.returncode:
        said = (done.stdout + done.stderr).decode(errors="replace").strip().splitlines()
        command = " ".join(str(word) for word in words[:3])
        last = "\n".join(said[-_LAST_LINES:])
        raise ReleaseError(f"{command} ended with {done.returncode}:\n{last}")
    return done.stdout
