"""What is released: the tag at HEAD of a checkout, and its files.

Changes of the checkout after the tag are refused, because the scripts that build are those of the
checkout; the files that they build from come out of the tag itself.
"""

import io
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Final

from contrib.release import ReleaseError
from contrib.release.programs import output

_VERSION: Final = re.compile(r'(?m)^__version__ = "(\d+\.\d+\.\d+(?:(?:a|b|rc)\d+)?)"$')
_NO_SETTINGS: Final = MappingProxyType(
    {
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_COUNT": "0",
        "GIT_ATTR_NOSYSTEM": "1",
    }
)
"""The environment of a git that reads only the settings of its repository (git(1))."""
_SHOWN: Final = 5
"""Files that an error about a changed checkout names."""


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag that can be released."""

    checkout: Path
    version: str
    commit: str
    epoch: int
    """Seconds since 1970 at which the commit was made: the time of all built files."""
    name: str
    address: str
    """Name and e-mail address of the commit's author: the maintainer of the package for Debian."""


def tag_of(checkout: Path) -> Tag:
    """Return the tag that is checked out. Raises `ReleaseError` if it is not fit for a release."""
    _refuse_changes(checkout)
    version = _version(checkout)
    _refuse_other_tags(checkout, version)
    changes = _git(checkout, "show", "HEAD:CHANGELOG.md")
    if not re.search(rf"(?m)^## {re.escape(version)} \(\d{{4}}-\d\d-\d\d\)$", changes):
        raise ReleaseError(f"CHANGELOG.md has no line '## {version} (YYYY-MM-DD)'")
    commit, epoch, name, address = _git(
        checkout, "log", "-1", "--no-show-signature", "--format=%H%n%ct%n%an%n%ae"
    ).splitlines()
    return Tag(checkout, version, commit, int(epoch), name, address)


def export(tag: Tag, folder: Path) -> None:
    """Write the files of the tag into a new folder, whatever the settings of git are here."""
    folder.mkdir()
    with tarfile.open(fileobj=io.BytesIO(_archive(tag))) as files:
        files.extractall(folder, filter="data")


def _archive(tag: Tag) -> bytes:
    """The files as a tar archive.

    `.git/info/attributes` and settings may leave files out, or change their lines. So it is made in
    an empty repository that borrows the objects of the checkout.
    """
    words = ("rev-parse", "--path-format=absolute", "--git-path", "objects")
    objects = _git(tag.checkout, *words).removesuffix("\n")
    with TemporaryDirectory() as empty:
        environ = {**_NO_SETTINGS, "GIT_DIR": empty, "GIT_ALTERNATE_OBJECT_DIRECTORIES": objects}
        output("git", "init", "--quiet", "--bare", "--template=", empty, environ=environ)
        # Without it git reads ~/.config/git/attributes (gitattributes(5)).
        attributes = ("-c", "core.attributesFile=/dev/null")
        made = ("archive", "--format=tar", tag.commit)
        return output("git", *attributes, *made, folder=Path(empty), environ=environ)


def _refuse_changes(checkout: Path) -> None:
    changed = _git(checkout, "status", "--porcelain", "--untracked-files=normal").splitlines()
    if changed:
        more = len(changed) - _SHOWN
        names = ", ".join(line[3:] for line in changed[:_SHOWN])
        rest = f" and {more} more" if more > 0 else ""
        raise ReleaseError(f"the checkout has changes that are not committed: {names}{rest}")


def _version(checkout: Path) -> str:
    code = _git(checkout, "show", "HEAD:postfix_mta_sts/__init__.py")
    found = _VERSION.search(code)
    if not found:
        raise ReleaseError("__version__ in postfix_mta_sts/__init__.py is no version: X.Y.Z")
    return found[1]


def _refuse_other_tags(checkout: Path, version: str) -> None:
    tags = _git(checkout, "tag", "--points-at", "HEAD", "v*").splitlines()
    if not tags:
        raise ReleaseError(f"the commit has no tag; for this version: git tag v{version}")
    if f"v{version}" not in tags:
        raise ReleaseError(f"the tag is {', '.join(tags)}, but __version__ is {version}")


def _git(checkout: Path, *words: str) -> str:
    return output("git", *words, folder=checkout).decode()
