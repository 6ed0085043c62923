"""Builds the Debian package by its script in a Debian 13, and a newer version for an upgrade.

The tree for the build has debhelper from Debian's packages, and is read-only. The build runs as
user nobody without a network, and finds the libraries among wheels that were downloaded before.
"""

import os
import re
import subprocess
from pathlib import Path
from typing import Final

from tests.e2e.trees import NoTreeError, extended
from tests.e2e.wheels import ROOT

NAME: Final = "postfix-mta-sts"
_PACKAGES: Final = ("debhelper", "lintian", "python3", "python3-venv")
_NOBODY: Final = 65534
_ENVIRONMENT: Final = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8"}  # noqa: S108 - the tree's own, empty

_INSIDE: Final = """\
tree=$1 source=$2 wheels=$3 out=$4; shift 4
mount --bind "$tree" "$tree" && mount -o remount,bind,ro "$tree" &&
mount -t proc proc "$tree/proc" && mount -t tmpfs tmpfs "$tree/tmp" &&
mount -t tmpfs tmpfs "$tree/mnt" && mkdir "$tree/mnt/source" "$tree/mnt/wheels" "$tree/mnt/out" &&
mount --bind "$source" "$tree/mnt/source" && mount -o remount,bind,ro "$tree/mnt/source" &&
mount --bind "$wheels" "$tree/mnt/wheels" && mount --bind "$out" "$tree/mnt/out" &&
exec chroot "$tree" setpriv --reuid 65534 --regid 65534 --clear-groups "$@"
"""


class Workshop:
    """Builds the package from `wheels` into `out`, and checks it."""

    def __init__(self, tree: Path, wheels: Path, out: Path) -> None:
        self._folders = [extended(tree, "debhelper", _PACKAGES), ROOT, wheels, out]
        self._out = out
        out.mkdir()
        os.chown(out, _NOBODY, _NOBODY)

    def build(self) -> Path:
        """Build the package and return its path. Raises `NoTreeError`."""
        done = self.run("/mnt/source/contrib/debian/build", "/mnt/out", "/mnt/wheels")
        if done.returncode:
            raise NoTreeError(f"no package: {(done.stdout + done.stderr)[-3000:]}")
        (package,) = self._out.glob("*.deb")
        return package

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the tree, as user nobody; the package's folder is /mnt/out there."""
        command = ["unshare", "--mount", "--net", "sh", "-c", _INSIDE, "inside"]
        return subprocess.run(
            [*command, *self._folders, *words],
            check=False,
            capture_output=True,
            text=True,
            env=_ENVIRONMENT,
        )


def newer(package: Path, folder: Path) -> Path:
    """Return the same package with version 9.9 wherever a version is stated."""
    _dpkg_deb("--raw-extract", package, folder)
    (metadata,) = folder.glob(f"usr/lib/{NAME}/postfix_mta_sts-*.dist-info/METADATA")
    code = folder / f"usr/lib/{NAME}/postfix_mta_sts/__init__.py"
    for told in (metadata, code, folder / "DEBIAN/control"):
        text = re.sub(
            r'^__version__ = ".*"',
            '__version__ = "9.9"',
            told.read_text("utf-8"),
            flags=re.MULTILINE,
        )
        told.write_text(re.sub(r"^Version: .*", "Version: 9.9", text, count=1, flags=re.MULTILINE))
    made = folder.with_suffix(".deb")
    _dpkg_deb("--root-owner-group", "--build", folder, made)
    return made


def _dpkg_deb(*words: str | Path) -> None:
    subprocess.run(["dpkg-deb", *words], check=True, capture_output=True)
