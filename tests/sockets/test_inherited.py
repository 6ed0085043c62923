"""Sockets that systemd hands over are used for the listeners with their addresses."""

import socket
from contextlib import closing
from pathlib import Path

import pytest

from postfix_mta_sts.sockets import ListenError, Sockets
from tests.support.sockets import connects, other_process, tcp, unix


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of a UNIX socket."""
    return tmp_path / "s"


def test_claimed_by_address(path: Path) -> None:
    """Each is used for the listener that has its address, in any order."""
    with (
        socket.create_server(("127.0.0.1", 0)) as four,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as six,
        other_process(path) as local,
    ):
        sockets = Sockets([four, six, local])
        for binding, inherited in (
            (unix(path), local),
            (tcp("::1", six.getsockname()[1]), six),
            (tcp("127.0.0.1", four.getsockname()[1]), four),
        ):
            with sockets.open(binding) as sock:
                assert sock.getsockname() == inherited.getsockname()
        assert sockets.close_unclaimed() == []


def test_claimed_by_name() -> None:
    """A host name claims a socket at one of its addresses."""
    with (
        socket.create_server(("127.0.0.1", 0)) as sock,
        Sockets([sock]).open(tcp("localhost", sock.getsockname()[1])) as opened,
    ):
        assert opened.getsockname() == sock.getsockname()


def test_claimed_once() -> None:
    """A socket serves one listener: opening the same address again is refused."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sockets = Sockets([sock])
        port = sock.getsockname()[1]
        with sockets.open(tcp(port=port)), pytest.raises(ListenError):
            sockets.open(tcp(port=port))


def test_claimed_again() -> None:
    """A listener that one reload removes and another adds gets its socket back."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sockets = Sockets([sock])
        binding = tcp(port=sock.getsockname()[1])
        sockets.open(binding).close()
        sockets.release(binding.address)
        with sockets.open(binding) as opened:
            assert opened.getsockname() == sock.getsockname()


def test_unclaimed_are_closed_and_named(path: Path) -> None:
    """A socket that fits no listener is closed, so that no client waits there for a reply."""
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as sock,
        other_process(path) as local,
        closing(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)) as other,
    ):
        address = sock.getsockname()
        sockets = Sockets([sock, local, other])
        with sockets.open(tcp()):
            names = sockets.close_unclaimed()
        assert names[:2] == [f"{address[0]}:{address[1]}", f"unix:{path}"]
        assert len(names) == 3
        assert [s.fileno() for s in (sock, local, other)] == [-1, -1, -1]
        assert sockets.close_unclaimed() == []


def test_file_is_left(path: Path) -> None:
    """The file of an inherited socket belongs to systemd and is not removed."""
    with other_process(path) as sock:
        kept_by_systemd = sock.dup()
        sockets = Sockets([sock])
        with kept_by_systemd, sockets.open(unix(path)):
            sockets.close()
            assert connects(path)
