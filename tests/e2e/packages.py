"""Builds the Debian package by its script in a Debian 13, and a newer version for an upgrade.

The tree for the build has debhelper from Debian's packages, and is read-only. The build runs as
user nobody without a network, and finds the libraries among wheels that were downloaded before.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from tests.docs.blocks import blocks
from tests.e2e.trees import NoTreeError, extended
from tests.e2e.wheels import ROOT

NAME: Final = "postfix-mta-sts"
NEWER: Final = "9.9"
_PAGE: Final = "tests/e2e/test_package.py"
(_README,) = (each for each in blocks(ROOT / "README.md") if each.value == _PAGE)
APT_BUILD, BUILD, APT_INSTALL = _README.text.splitlines()
"""The commands of README.md, which docs/install.md repeats."""
(BUILD_OFFLINE,) = (
    each.text.strip() for each in blocks(ROOT / "docs/install.md") if "WHEELS" in each.text
)
GO_BACK, _STATUS = next(
    each.text.splitlines()
    for each in blocks(ROOT / "docs/install.md")
    if "--allow-downgrades" in each.text
)
"""The command that goes back to an older version."""
PACKAGES: Final = (*APT_BUILD.removeprefix("apt install ").split(), "lintian")
_NOBODY: Final = 65534
_ENVIRONMENT: Final = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/tmp",  # noqa: S108 - the tree's own, empty
    "LANG": "C.UTF-8",
    "PIP_NO_INDEX": "1",
    "PIP_FIND_LINKS": "/mnt/wheels",
}

_MIGRATION: Final = """\
    (
        "CREATE TABLE later (what TEXT)",
        "ALTER TABLE policies ADD COLUMN later TEXT",
    ),
)"""
"""What a newer version may add to `SCHEMA`: older ones do not look at it."""

_INSIDE: Final = """\
tree=$1 source=$2 wheels=$3 out=$4; shift 4
mount --bind "$tree" "$tree" && mount -o remount,bind,ro "$tree" &&
mount -t proc proc "$tree/proc" && mount -t tmpfs tmpfs "$tree/tmp" &&
mount -t tmpfs tmpfs "$tree/mnt" && cd "$tree/mnt" && mkdir source wheels out checkout &&
ln -s ../source/contrib ../wheels checkout && ln -s ../out checkout/dist &&
mv checkout/wheels checkout/WHEELS &&
mount --bind "$source" "$tree/mnt/source" && mount -o remount,bind,ro "$tree/mnt/source" &&
mount --bind "$wheels" "$tree/mnt/wheels" && mount --bind "$out" "$tree/mnt/out" &&
exec chroot "$tree" setpriv --reuid 65534 --regid 65534 --clear-groups "$@"
"""


class Workshop:
    """Builds the package from `wheels` into `out`, and checks it."""

    def __init__(self, tree: Path, wheels: Path, out: Path) -> None:
        self._tree = extended(tree, "debhelper", PACKAGES)
        self._wheels = wheels
        self._out = out
        out.mkdir()
        os.chown(out, _NOBODY, _NOBODY)

    def build(self, command: str, checkout: Path = ROOT) -> Path:
        """Build the package by a command of a page; return its path. Raises `NoTreeError`."""
        before = {*self._out.glob("*.deb")}
        done = self.run("sh", "-ec", f"cd /mnt/checkout; {command}", checkout=checkout)
        if done.returncode:
            raise NoTreeError(f"no package: {(done.stdout + done.stderr)[-3000:]}")
        (package,) = {*self._out.glob("*.deb")} - before
        return package

    def run(self, *words: str, checkout: Path = ROOT) -> subprocess.CompletedProcess[str]:
        """Run a command in the tree, as user nobody; the package's folder is /mnt/out there."""
        command = ["unshare", "--mount", "--net", "sh", "-c", _INSIDE, "inside"]
        return subprocess.run(
            [*command, self._tree, checkout, self._wheels, self._out, *words],
            check=False,
            capture_output=True,
            text=True,
            env=_ENVIRONMENT,
        )


def newer(folder: Path) -> Path:
    """Return a checkout of version 9.9, whose store has one more table and one more column."""
    for part in ("contrib", "docs", "postfix_mta_sts"):
        shutil.copytree(ROOT / part, folder / part)
    for name in ("*.md", "*.yml", "LICENSE", "Dockerfile", "constraints.txt", "pyproject.toml"):
        for file in ROOT.glob(name):
            shutil.copy(file, folder)
    package = folder / "postfix_mta_sts"
    _change(package / "__init__.py", r'^__version__ = ".*"', f'__version__ = "{NEWER}"')
    _change(package / "store/sqlite/layout.py", r"^\)(?=\n\"\"\"The migrations)", _MIGRATION)
    return folder


def _change(code: Path, pattern: str, text: str) -> None:
    """Replace the one place in a file that matches."""
    changed, number = re.subn(pattern, lambda _: text, code.read_text("utf-8"), flags=re.MULTILINE)
    assert number == 1, (code, pattern)
    code.write_text(changed)
