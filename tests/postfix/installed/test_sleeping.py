"""Addresses at which systemd listens for a daemon that does not run."""

from pathlib import Path

import pytest

from postfix_mta_sts.config.address import TcpAddress, UnixAddress
from postfix_mta_sts.postfix.installed.sleeping import sleeping_at, sleeps

TCP = TcpAddress("127.0.0.1", 8461)


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("127.0.0.1:8461", TCP),
        ("[::1]:8461", TcpAddress("::1", 8461)),
        ("8461", TcpAddress("0.0.0.0", 8461)),
        ("/run/a b.sock", UnixAddress(Path("/run/a b.sock"))),
    ],
)
def test_addresses(listen: str, address: TcpAddress | UnixAddress) -> None:
    """Each form of `ListenStream=`."""
    assert sleeping_at([listen]) == (address,)


@pytest.mark.parametrize("listen", ["@abstract", "", "vsock:1:2", "%i", "99999999"])
def test_other_addresses(listen: str) -> None:
    """No table of Postfix leads to others."""
    assert sleeping_at([listen]) == ()


def test_tcp() -> None:
    """The port decides, since `localhost` is the same host; other ports are asked."""
    assert sleeps(TcpAddress("localhost", 8461), [TCP])
    assert not sleeps(TcpAddress("127.0.0.1", 8462), [TCP])
    assert not sleeps(TCP, [UnixAddress(Path("/a"))])


def test_unix(tmp_path: Path) -> None:
    """A path is the same behind a symbolic link, such as /var/run."""
    (tmp_path / "link").symlink_to(tmp_path)
    here = UnixAddress(tmp_path / "sock")
    assert sleeps(UnixAddress(tmp_path / "link/sock"), [TCP, here])
    assert not sleeps(UnixAddress(tmp_path / "other"), [TCP, here])
