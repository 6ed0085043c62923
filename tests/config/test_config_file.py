"""The text of a configuration file, and files that are none."""

import os
from pathlib import Path

import pytest

from postfix_mta_sts.config.config_file import SIZE_LIMIT, read_text


def refused(path: Path) -> str:
    """Return the reason why the file cannot be read."""
    with pytest.raises(OSError, match=str(path)) as caught:
        read_text(path, 0.01)
    return str(caught.value.strerror)


@pytest.mark.parametrize("data", [b"", b"log: {}\r\n", "# Köln\nlog: {}\n".encode()])
def test_text(tmp_path: Path, data: bytes) -> None:
    """The text is that of the file."""
    path = tmp_path / "c.yml"
    path.write_bytes(data)
    assert read_text(path) == data.decode()


def test_pipe() -> None:
    """A pipe is read to its end, as of a shell's `<(…)`."""
    reading, writing = os.pipe()
    os.write(writing, b"log: {}")
    os.close(writing)
    try:
        assert read_text(Path(f"/dev/fd/{reading}")) == "log: {}"
    finally:
        os.close(reading)


def test_nobody_writes(tmp_path: Path) -> None:
    """A FIFO to which nobody writes does not stop a reload."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    assert refused(path) == "it is a pipe, and no process writes to it for 0.01 s; name a file"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"x" * (SIZE_LIMIT + 1), "it is larger than 256 KiB, so it is no configuration"),
        ("# K\n# Kö\n".encode("latin-1"), "byte 0xF6 in line 2, column 4 is not UTF-8; save it "),
        ("log: {}".encode("utf-16"), "it is UTF-16; save it as UTF-8: iconv -f UTF-16 -t UTF-8 "),
    ],
)
def test_no_text(tmp_path: Path, data: bytes, reason: str) -> None:
    """The reason says what is wrong, where, and what to do."""
    path = tmp_path / "c.yml"
    path.write_bytes(data)
    assert refused(path).startswith(reason)


def test_folder(tmp_path: Path) -> None:
    """A folder is named as one."""
    assert refused(tmp_path) == "it is a folder; name a file in it"


def test_endless() -> None:
    """A device without end is given up at the limit."""
    assert refused(Path("/dev/zero")).startswith("it is larger")
