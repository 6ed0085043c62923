"""The process that listens on an address, as /proc shows it."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from postfix_mta_sts import occupants


def test_tcp() -> None:
    """The listener on a TCP port is named with its process."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        named = occupants.on_port(listener.getsockname()[1])
    assert named.startswith(f": process {os.getpid()} (")


def test_unix(tmp_path: Path) -> None:
    """The listener on a UNIX socket is named with its process."""
    path = tmp_path / "a b"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        assert occupants.on_path(path).startswith(f": process {os.getpid()} (")
    assert occupants.on_path(tmp_path / "none") == ""


def test_process_of_another_user(tmp_path: Path) -> None:
    """If the process cannot be seen, its user is named."""
    (tmp_path / "net").mkdir()
    row = "   0: 0100007F:210D 00000000:0000 0A 00000000:00000000 00:00000000 00000000 {} 0 77 1"
    (tmp_path / "net/tcp").write_text("header\n" + row.format(4_000_000) + "\n")
    assert occupants.on_port(0x210D, tmp_path) == ": a process of user 4000000"
    assert occupants.on_port(0x210E, tmp_path) == ""


def test_behind_a_process_with_many_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server with thousands of connections does not hide the others."""
    monkeypatch.setattr(Path, "iterdir", _in_order)  # as in /proc
    for process, inodes in (("1", range(6000)), ("2", range(6000, 6001))):
        (tmp_path / process / "fd").mkdir(parents=True)
        (tmp_path / process / "comm").write_text(f"server{process}\n")
        for number, inode in enumerate(inodes):
            (tmp_path / process / "fd" / str(number)).symlink_to(f"socket:[{inode}]")
    (tmp_path / "net").mkdir()
    row = "ffff: 00000002 00000000 00010000 0001 01 6000 /run/s"
    (tmp_path / "net/unix").write_text(f"header\n{row}\n")
    assert occupants.on_path(Path("/run/s"), tmp_path) == ": process 2 (server2)"


def _in_order(folder: Path) -> Iterator[Path]:
    paths = sorted(folder.glob("*"), key=lambda path: (len(path.name), path.name))
    return iter(paths)


def test_without_proc(tmp_path: Path) -> None:
    """Where there is no /proc, nothing is known."""
    assert occupants.on_port(1, tmp_path) == occupants.on_path(Path("/x"), tmp_path) == ""
