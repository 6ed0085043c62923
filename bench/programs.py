"""Compile the C programs that a run needs, and install the peer.

Compiled programs are in `build/bench`, which git ignores; downloads are in
${XDG_CACHE_HOME:-~/.cache}/postfix-mta-sts/bench. This module does not run the programs.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from bench.process import BenchError

HERE: Final = Path(__file__).parent
BUILD: Final = HERE.parent / "build" / "bench"
PEER: Final = "postfix-mta-sts-resolver[sqlite,uvloop]"

_FLAGS = ("-std=c17", "-O2", "-Wall", "-Wextra", "-Werror")
_LIBRARIES = {"policy_host": ("-lssl", "-lcrypto")}


def cache() -> Path:
    """Return the folder for files that later runs use again."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(home) / "postfix-mta-sts" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def compile_all() -> None:
    """Compile each C program that is older than its source. Raises `BenchError`."""
    BUILD.mkdir(parents=True, exist_ok=True)
    for source in HERE.glob("*.c"):
        target = BUILD / source.stem
        if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
            libraries = _LIBRARIES.get(source.stem, ())
            _run("cc", *_FLAGS, str(source), "-o", str(target), *libraries)


def install_peer() -> Path:
    """Install the peer in its own virtual environment; return the folder of its commands."""
    venv = cache() / "peer"
    program = venv / "bin" / "mta-sts-daemon"
    if not program.exists():
        _run(sys.executable, "-m", "venv", str(venv))
        _run(str(venv / "bin" / "pip"), "install", "--quiet", PEER)
    return program.parent


def peer_version() -> str:
    """Return the version of the installed peer."""
    python = cache() / "peer" / "bin" / "python"
    question = "import importlib.metadata as m; print(m.version('postfix-mta-sts-resolver'))"
    return _run(str(python), "-c", question).strip()


def _run(*words: str) -> str:
    try:
        done = subprocess.run(words, check=False, capture_output=True, text=True)
    except OSError as error:
        raise BenchError(f"{words[0]}: {error}") from error
    if done.returncode:
        raise BenchError(f"{' '.join(words)}:\n{done.stdout}{done.stderr}")
    return done.stdout
