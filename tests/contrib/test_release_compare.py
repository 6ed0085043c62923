"""The first difference between two releases, in files and in archives within archives."""

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from contrib.release.compare import first_difference, main


def a_tar(mtime: int = 0, **files: bytes) -> bytes:
    """Return an archive."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content), mtime
            archive.addfile(member, io.BytesIO(content))
    return made.getvalue()


def a_zip(second: int = 0, **files: bytes) -> bytes:
    """Return an archive."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 2, 3, 4, second)), content)
    return made.getvalue()


def an_ar(**files: bytes) -> bytes:
    """Return an archive, as ar(5) has it."""
    made = b"!<arch>\n"
    for name, content in files.items():
        made += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
        made += content + b"\n" * (len(content) % 2)
    return made


def a_gzip(content: bytes = b"x", *, mtime: int = 0) -> bytes:
    """Return compressed content."""
    return gzip.compress(content, mtime=mtime)


def difference(folder: Path, first: bytes, second: bytes) -> str:
    """Compare two folders, each with one file."""
    for name, content in (("1", first), ("2", second)):
        (folder / name).mkdir()
        (folder / name / "file").write_bytes(content)
    return first_difference(folder / "1", folder / "2")


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (b"abc", b"abc", ""),
        (b"abc", b"abd", "file: byte 2"),
        (b"abc", b"abcd", "file: byte 3"),
        (a_tar(x=b"1", y=b"23"), a_tar(x=b"1", y=b"24"), "file: y: byte 1"),
        (a_tar(x=b"1"), a_tar(y=b"1"), "file: x and y"),
        (a_tar(x=b"1"), a_tar(x=b"1", y=b""), "file: nothing and y"),
        (a_zip(x=b"1"), a_zip(x=b"2"), "file: x: byte 0"),
        (an_ar(x=b"1", y=b"2"), an_ar(x=b"1", y=b"3"), "file: y: byte 0"),
        (a_gzip(mtime=0), a_gzip(mtime=9), "file: only the compression differs"),
        (a_gzip(), a_gzip()[:-9], "file: an archive in it is damaged"),
        (a_zip(x=b"1"), a_zip(x=b"1")[:-9], "file: an archive in it is damaged"),
        (
            an_ar(data=a_gzip(a_tar(x=a_zip(y=b"1")))),
            an_ar(data=a_gzip(a_tar(x=a_zip(y=b"2")))),
            "file: data: x: y: byte 0",
        ),
    ],
)
def test_the_first_difference(tmp_path: Path, first: bytes, second: bytes, expected: str) -> None:
    """Each level is named, from the file to the byte."""
    assert difference(tmp_path, first, second) == expected


@pytest.mark.parametrize("archive", [a_tar, a_zip])
def test_only_the_time(tmp_path: Path, archive: type) -> None:
    """A time that differs is shown."""
    said = difference(tmp_path, archive(2, x=b"1"), archive(4, x=b"1"))
    assert said.startswith("file: x: (")


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    """A file that only one release has is a difference; its sums and signature are none."""
    assert difference(tmp_path, b"", b"") == ""
    for name in ("another", "SHA256SUMS", "SHA256SUMS.sig"):
        (tmp_path / "2" / name).touch()
    assert first_difference(tmp_path / "1", tmp_path / "2") == "another is in one of them only"


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command ends with 1 at a difference."""
    difference(tmp_path, b"a", b"b")
    folders = [str(tmp_path / name) for name in "12"]
    assert main(folders) == 1
    assert main([folders[0], folders[0]]) == 0
    assert capsys.readouterr().out == "file: byte 0\nequal\n"
