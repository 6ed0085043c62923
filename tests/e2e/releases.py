"""Images of Debian 13 for a release, in a store of their own: trees under the names of images."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.e2e.trees import NoTreeError

TOOLS: Final = "tools"
"""The image with debhelper."""
_UNNEEDED: Final = ("var/cache/apt", "usr/share/locale", "usr/libexec/gcc", "usr/lib/gcc")
"""What no build reads; the copies are smaller without it."""


class Store:
    """Where buildah keeps images, for a release and for what is tried with it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        driver = "overlay" if _has_overlay(folder) else "vfs"
        conf = folder / "storage.conf"
        roots = f'graphroot = "{folder}/root"\nrunroot = "{folder}/run"\n'
        conf.write_text(f'[storage]\ndriver = "{driver}"\n{roots}')
        self.environ = {
            **os.environ,
            "CONTAINERS_STORAGE_CONF": str(conf),
            "BUILDAH_ISOLATION": "chroot",
        }
        """The environment for programs that use this store."""

    def add(self, tree: Path, name: str) -> None:
        """Make an image of a tree."""
        container = self.buildah("from", "scratch")
        left_out = [f"--exclude=./{folder}" for folder in _UNNEEDED]
        place = self.buildah("mount", container)
        pack: list[str | Path] = ["tar", "--directory", tree, *left_out, "--create", "."]
        with subprocess.Popen(pack, stdout=subprocess.PIPE) as packing:
            unpack: list[str | Path] = ["tar", "--directory", place, "--extract"]
            subprocess.run(unpack, stdin=packing.stdout, check=True)
        self.buildah("commit", "--quiet", "--rm", container, name)

    def buildah(self, *words: str | Path) -> str:
        """Return the output of a buildah command. Raises `NoTreeError` if it fails."""
        return self.run("buildah", *words)

    def run(self, *words: str | Path, cwd: Path | None = None) -> str:
        """Return the output of a program that uses this store. Raises `NoTreeError`."""
        done = _run(words, self.environ, cwd)
        if done.returncode:
            raise NoTreeError(f"{words[0]} {words[1]}: {(done.stdout + done.stderr)[-3000:]}")
        return done.stdout.strip()


def _run(
    words: Sequence[str | Path], environ: dict[str, str], cwd: Path | None
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            words, check=False, capture_output=True, text=True, env=environ, cwd=cwd
        )
    except OSError as error:
        raise NoTreeError(f"{words[0]}: {error}") from error


def _has_overlay(folder: Path) -> bool:
    """Whether a folder may be below others, which saves the copies of images."""
    places = [folder / name for name in ("lower", "upper", "work", "merged")]
    for place in places:
        place.mkdir()
    lower, upper, work, merged = places
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    mount: list[str | Path] = ["mount", "-t", "overlay", "overlay", "-o", options, merged]
    done = subprocess.run(["unshare", "--mount", *mount], check=False, capture_output=True)
    return done.returncode == 0
