"""Notifications reach systemd; sockets from systemd are used."""

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from postfix_mta_sts.daemon.systemd import inherited, notify, watchdog

FIRST = 700
"""Used in place of descriptor 3, which belongs to the test runner."""


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A listening socket on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def duplicate(sock: socket.socket, fd: int) -> int:
    """Duplicate the socket to this descriptor, as exec passes it to a child."""
    return os.dup2(sock.fileno(), fd, inheritable=True)


class TestNotify:
    """sd_notify(3)."""

    @pytest.mark.parametrize("abstract", [False, True])
    def test_one_datagram(self, tmp_path: Path, *, abstract: bool) -> None:
        """The lines arrive in one datagram, at a path or an abstract name."""
        name = str(tmp_path / "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.bind("\0" + name if abstract else name)
            notify({"NOTIFY_SOCKET": "@" + name if abstract else name}, "READY=1", "STATUS=up")
            sock.settimeout(0)
            assert sock.recv(4096) == b"READY=1\nSTATUS=up"
            with pytest.raises(BlockingIOError):
                sock.recv(4096)

    @pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}])
    def test_outside_systemd(
        self, environ: dict[str, str], caplog: pytest.LogCaptureFixture
    ) -> None:
        """Without a socket nothing is sent and nothing is logged."""
        caplog.set_level(logging.DEBUG)
        notify(environ, "READY=1")
        assert not caplog.records

    def test_no_receiver(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """An error is logged, not raised."""
        caplog.set_level(logging.DEBUG)
        notify({"NOTIFY_SOCKET": str(tmp_path / "none")}, "READY=1")
        (record,) = caplog.records
        assert record.levelno == logging.DEBUG
        assert record.getMessage() == (
            'systemd notification failed lines="READY=1" reason="No such file or directory"'
        )


class TestWatchdog:
    """sd_watchdog_enabled(3)."""

    @pytest.mark.parametrize(
        ("environ", "seconds"),
        [
            ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "42"}, 30.0),
            ({"WATCHDOG_USEC": "500000"}, 0.5),
            ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "41"}, None),
            ({"WATCHDOG_USEC": "0", "WATCHDOG_PID": "42"}, None),
            ({"WATCHDOG_USEC": "soon"}, None),
            ({"WATCHDOG_USEC": "-5"}, None),
            ({"WATCHDOG_PID": "42"}, None),
            ({}, None),
        ],
    )
    def test_interval(self, environ: dict[str, str], seconds: float | None) -> None:
        """The interval is in seconds, and only for the named process."""
        assert watchdog(environ, 42) == seconds


class TestInherited:
    """sd_listen_fds(3)."""

    def test_taken_in_order(self, listener: socket.socket, tmp_path: Path) -> None:
        """The sockets come in order; they do not block, and children do not inherit them."""
        environ = {
            "LISTEN_PID": "42",
            "LISTEN_FDS": "2",
            "LISTEN_FDNAMES": "a:b",
            "PATH": "/bin",
        }
        with socket.socket(socket.AF_UNIX) as unix:
            unix.bind(str(tmp_path / "s"))
            duplicate(unix, FIRST + 1)
        duplicate(listener, FIRST)
        first, second = inherited(environ, 42, FIRST)
        with first, second:
            assert first.getsockname() == listener.getsockname()
            assert second.getsockname() == str(tmp_path / "s")
            assert (first.fileno(), second.fileno()) == (FIRST, FIRST + 1)
            for sock in (first, second):
                assert not sock.getblocking()
                assert not sock.get_inheritable()
        assert environ == {"PATH": "/bin"}

    @pytest.mark.parametrize(
        "environ",
        [
            {},
            {"LISTEN_PID": "41", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "a"},
            {"LISTEN_PID": "42"},
            {"LISTEN_PID": "42", "LISTEN_FDS": "0"},
            {"LISTEN_PID": "42", "LISTEN_FDS": "-1"},
            {"LISTEN_PID": "42", "LISTEN_FDS": "one"},
            {"LISTEN_FDS": "1"},
        ],
    )
    def test_none(self, listener: socket.socket, environ: dict[str, str]) -> None:
        """Sockets for another process are not used; the variables are removed all the same."""
        duplicate(listener, FIRST)
        assert inherited(environ, 42, FIRST) == []
        assert environ == {}
        os.close(FIRST)  # still open: it was not used

    def test_no_socket(
        self, listener: socket.socket, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A file among the sockets is skipped with a warning."""
        with (tmp_path / "f").open("w") as file:
            os.dup2(file.fileno(), FIRST)
        duplicate(listener, FIRST + 1)
        environ = {"LISTEN_PID": "42", "LISTEN_FDS": "2"}
        (sock,) = inherited(environ, 42, FIRST)
        with sock:
            assert sock.getsockname() == listener.getsockname()
        os.close(FIRST)
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert record.getMessage().startswith(
            "inherited file descriptor is not a socket fd=700 reason="
        )

    def test_in_a_process_of_its_own(self, listener: socket.socket) -> None:
        """A process started as systemd does it finds the socket at descriptor 3."""
        child = (
            "import os; from postfix_mta_sts.daemon.systemd import inherited;"
            "print(inherited(os.environ, os.getpid())[0].getsockname()[1], *os.environ.keys())"
        )
        done = subprocess.run(
            [
                "sh",
                "-c",
                'exec 3<&0; LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" -c "$1"',
                sys.executable,
                child,
            ],
            stdin=listener.fileno(),
            capture_output=True,
            text=True,
            check=True,
        )
        port, *names = done.stdout.split()
        assert int(port) == listener.getsockname()[1]
        assert not {"LISTEN_PID", "LISTEN_FDS"} & set(names)
