"""Names the first difference between two releases: `python -m contrib.release.compare A B`.

It looks into zip, tar and ar archives, as deep as they are nested. It leaves out the sums and their
signature, which follow from the rest. Ends with 0 if all is equal.
"""

import bz2
import gzip
import io
import lzma
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from contrib.release.signature import SIGNATURE, SUMS

_COMPRESSED: Final = (
    (b"\x1f\x8b", gzip.decompress),
    (b"\xfd7zXZ\0", lzma.decompress),
    (b"BZh", bz2.decompress),
)
_AR: Final = b"!<arch>\n"
_ZIP: Final = b"PK\x03\x04"
_AR_HEADER: Final = 60
"""Bytes, see ar(5)."""
_DAMAGED: Final = (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error, zipfile.BadZipFile)
"""What an archive raises that is cut off or changed."""


def main(arguments: Sequence[str]) -> int:
    """Compare two folders; print the difference."""
    first, second = map(Path, arguments)
    difference = first_difference(first, second)
    sys.stdout.write(f"{difference or 'equal'}\n")
    return 1 if difference else 0


def first_difference(first: Path, second: Path) -> str:
    """Return what differs first in two folders without subfolders; empty if all is equal."""
    names = {file.name for file in (*first.iterdir(), *second.iterdir())}
    for name in sorted(names - {SUMS, SIGNATURE}):
        files = first / name, second / name
        if not all(file.is_file() for file in files):
            return f"{name} is in one of them only"
        contents = [file.read_bytes() for file in files]
        if contents[0] != contents[1]:
            try:
                return ": ".join(_within(name, *contents))
            except _DAMAGED:
                return f"{name}: an archive in it is damaged"
    return ""


def _within(name: str, first: bytes, second: bytes) -> Iterator[str]:
    """Yield the path to the first difference of two contents, from the outside to the inside."""
    yield name
    for magic, decompress in _COMPRESSED:
        if first.startswith(magic) and second.startswith(magic):
            inside = decompress(first), decompress(second)
            if inside[0] == inside[1]:
                yield "only the compression differs"
                return
            first, second = inside
    members = _members(first), _members(second)
    if not members[0] or not members[1]:
        at = next((i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), None)
        yield f"byte {min(len(first), len(second)) if at is None else at}"
    elif list(members[0]) != list(members[1]):
        pairs = zip([*members[0], "nothing"], [*members[1], "nothing"], strict=False)
        yield "{} and {}".format(*next(pair for pair in pairs if pair[0] != pair[1]))
    else:
        yield from _member(*members)


def _member(
    first: Mapping[str, tuple[object, bytes]], second: Mapping[str, tuple[object, bytes]]
) -> Iterator[str]:
    for name, (about, content) in first.items():
        other_about, other_content = second[name]
        if content != other_content:
            yield from _within(name, content, other_content)
            return
        if about != other_about:
            yield f"{name}: {about} and {other_about}"
            return
    yield "the archives differ only in how they are written"


def _members(content: bytes) -> dict[str, tuple[object, bytes]]:
    """Name → attributes and content of each member, in their order; empty if it is no archive."""
    if content.startswith(_AR):
        return dict(_of_ar(content))
    if content.startswith(_ZIP):
        return dict(_of_zip(content))
    try:
        return dict(_of_tar(content))
    except tarfile.TarError:
        return {}


def _of_ar(content: bytes) -> Iterator[tuple[str, tuple[object, bytes]]]:
    at = len(_AR)
    while at < len(content):
        header = content[at : at + _AR_HEADER]
        at += _AR_HEADER
        size = int(header[48:58])
        yield header[:16].decode().strip(), (header[16:48].decode(), content[at : at + size])
        at += size + size % 2


def _of_zip(content: bytes) -> Iterator[tuple[str, tuple[object, bytes]]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for each in archive.infolist():
            yield each.filename, ((each.date_time, each.external_attr), archive.read(each))


def _of_tar(content: bytes) -> Iterator[tuple[str, tuple[object, bytes]]]:
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
        for each in archive:
            about = (each.mtime, oct(each.mode), each.uid, each.gid, each.uname, each.linkname)
            file = archive.extractfile(each) if each.isreg() else None
            yield each.name, (about, file.read() if file else b"")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
