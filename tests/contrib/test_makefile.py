"""`make serve` on machines without a home, without Python's ensurepip, or with an old Python."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.programs import program

ROOT = Path(__file__).parents[2]
SAYS_HOME = '#!/bin/sh\necho "$(basename "$0") home=$HOME" "$@"\n'


def make(folder: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run make in a folder, with nothing in the environment but the path."""
    return subprocess.run(
        [program("make"), "--silent", *words],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with a Makefile."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


@pytest.fixture
def programs(checkout: Path) -> Path:
    """A virtual environment whose programs only say that they were called."""
    folder = checkout / ".venv/bin"
    folder.mkdir(parents=True)
    for name in ("pip", "python", "postfix-mta-sts"):
        (folder / name).write_text(SAYS_HOME)
        (folder / name).chmod(0o755)
    return folder


def test_without_a_home(checkout: Path, programs: Path) -> None:
    """Pip has a home all the same, without which it fails; the daemon gets none."""
    done = make(checkout, "serve")
    installed, served = done.stdout.splitlines()
    assert installed.startswith(f"python home={checkout}/.venv -m pip ")
    assert served == "postfix-mta-sts home= serve"
    assert make(checkout, "serve").stdout.splitlines() == [served]


def test_with_a_home(checkout: Path, programs: Path) -> None:
    """A home is left as it is."""
    done = make(checkout, "serve", HOME="/home/me")
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["home=/home/me"] * 2


@pytest.mark.parametrize(
    "python",
    [
        "import sys; sys.version_info = (3, 9, 18); exec(sys.argv[1])",
        "import sys; sys.modules['ensurepip'] = None; exec(sys.argv[1])",
        "raise SystemExit(1)",
    ],
    ids=["Python 3.9", "no ensurepip", "no Python"],
)
def test_python_that_does_not_do(checkout: Path, python: str) -> None:
    """One message says what is needed, how to get it, and how to name another Python."""
    old = checkout / "python3"
    old.write_text(f'#!/bin/sh\nexec {program("python3")} -c "{python}" "$2"\n')
    old.chmod(0o755)
    done = make(checkout, "serve", f"PYTHON={old}")
    assert done.returncode == 2
    assert done.stdout == ""
    needed, debian, other, make_says = done.stderr.splitlines()
    assert needed == "This needs Python 3.11 or later with the module ensurepip."
    assert debian == "On Debian and Ubuntu: apt install python3 python3-venv"
    assert other == f"For another Python than {old}: make PYTHON=/path/to/python3"
    assert make_says.startswith("make: ***")
    assert not (checkout / ".venv").exists()
