"""Runs the unit tests with the Python of Debian 13, in a tree of that release.

    python -m tests.e2e.unit_tests [ARGUMENT OF PYTEST]...

The tree is not changed: the virtual environment and all temporary files are in memory. The network
is a namespace that has only loopback. A test of a program that the tree lacks is skipped.
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.e2e.trees import WITH_DNS, NoTreeError, extended, tree
from tests.e2e.wheels import ROOT, wheels

_PACKAGES: Final = ("git", "python3", "python3-venv")
_ENVIRONMENT: Final = {
    "PATH": "/mnt/venv/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "PIP_NO_INDEX": "1",
    "PIP_FIND_LINKS": "/mnt/wheels",
    "PYTHONDONTWRITEBYTECODE": "1",
}

_MOUNTED: Final = """\
tree=$1 source=$2 wheels=$3; shift 3
ip link set lo up &&
mount --bind "$tree" "$tree" && mount --rbind /dev "$tree/dev" &&
mount -t proc proc "$tree/proc" && mount -t tmpfs tmpfs "$tree/tmp" &&
mount -t tmpfs tmpfs "$tree/mnt" && mkdir "$tree/mnt/source" "$tree/mnt/wheels" &&
mount --bind "$source" "$tree/mnt/source" && mount --bind "$wheels" "$tree/mnt/wheels" &&
exec chroot "$tree" sh -ec "$@"
"""
_TESTS: Final = """\
python3 -m venv /mnt/venv
cd /mnt/source
pip --quiet install --group test postfix-mta-sts
exec pytest -m 'not e2e' -p no:cacheprovider "$@"
"""


def main(arguments: Sequence[str]) -> int:
    """Run the tests; return pytest's exit code, or 2 if this machine cannot run them."""
    try:
        place = extended(tree(WITH_DNS), "python", _PACKAGES)
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            return _run(place, wheels(WITH_DNS.suite, Path(folder), group="test"), arguments)
    except NoTreeError as error:
        sys.stderr.write(f"unit_tests: {error}\n")
        return 2


def _run(place: Path, ready: Path, arguments: Sequence[str]) -> int:
    """Run the tests with namespaces of their own for mounts, network and processes."""
    command: list[str | Path] = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"]
    command += ["sh", "-c", _MOUNTED, "mounted", place, ROOT, ready, _TESTS, "tests", *arguments]
    return subprocess.run(command, check=False, env=_ENVIRONMENT).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
