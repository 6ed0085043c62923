"""Reads an image in the OCI layout, and packs it into one file.

https://github.com/opencontainers/image-spec/blob/main/image-layout.md
"""

import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

_REMOVED: Final = ".wh."
"""In a layer, a file with this prefix removes the one of its name from those below it."""
_ALL_REMOVED: Final = ".wh..wh..opq"


@dataclass(frozen=True, slots=True)
class Image:
    """An image, as its manifest describes it."""

    digest: str
    """Of the manifest: `sha256:` and 64 hexadecimal digits."""
    architecture: str
    layers: tuple[Path, ...]
    """The archives of its files, the lowest first."""


def read(layout: Path) -> Image:
    """Return the only image of a layout."""
    (entry,) = json.loads((layout / "index.json").read_text("utf-8"))["manifests"]
    manifest = _json(layout, entry["digest"])
    config = _json(layout, manifest["config"]["digest"])
    layers = tuple(_blob(layout, each["digest"]) for each in manifest["layers"])
    return Image(entry["digest"], config["architecture"], layers)


def files(image: Image, is_wanted: Callable[[PurePosixPath], bool]) -> dict[PurePosixPath, bytes]:
    """Return the contents of some regular files of an image, by path without the first slash."""
    found: dict[PurePosixPath, bytes] = {}
    for layer in image.layers:
        with tarfile.open(layer) as archive:
            for member in archive:
                path = PurePosixPath(member.name)
                _remove(found, path)
                if member.isreg() and is_wanted(path):
                    content = archive.extractfile(member)
                    found[path] = content.read() if content else b""
    return found


def pack(layout: Path, file: Path, epoch: int) -> None:
    """Write all files of a layout into a tar archive whose bytes depend on nothing else."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.mtime = epoch
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mode = 0o755 if member.isdir() else 0o644
        return member

    with tarfile.open(file, "w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted(layout.rglob("*")):
            name = str(path.relative_to(layout))
            archive.add(path, name, recursive=False, filter=plain)


def _remove(found: dict[PurePosixPath, bytes], path: PurePosixPath) -> None:
    """Remove what an entry of a layer hides."""
    if path.name == _ALL_REMOVED:
        hidden = path.parent
    elif path.name.startswith(_REMOVED):
        hidden = path.with_name(path.name.removeprefix(_REMOVED))
    else:
        return
    for each in [each for each in found if each.is_relative_to(hidden)]:
        del found[each]


def _json(layout: Path, digest: str) -> Any:  # noqa: ANN401 - JSON has any shape
    return json.loads(_blob(layout, digest).read_text("utf-8"))


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / digest.replace(":", "/")
