"""Listening sockets: made where the configuration says, or taken over from who made them."""

import contextlib
import grp
import logging
import os
import pwd
import socket
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from postfix_mta_sts.config.address import TcpAddress, UnixAddress
from postfix_mta_sts.config.settings import (
    ControlSettings,
    ListenerSettings,
)
from postfix_mta_sts.sockets import ListenError, Sockets


def tcp(host: str = "127.0.0.1", port: int = 0) -> ListenerSettings:
    """A listener at a TCP address."""
    return ListenerSettings(socketmap=TcpAddress(host, port))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a UNIX socket is to be."""
    return tmp_path / "s"


@contextmanager
def left_behind(path: Path) -> Iterator[socket.socket]:
    """A socket file, and the socket behind it; it takes connections while it is open."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()
        yield sock


def connects(path: Path) -> bool:
    """Whether somebody listens on a UNIX socket."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def unwrapped(sock: socket.socket | None) -> socket.socket:
    """A socket that could be had."""
    assert sock
    return sock


def an_account() -> tuple[str, int]:
    """A user to whom this process may give a file: another one, if it is root."""
    entry = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    return entry.pw_name, entry.pw_uid


def a_group() -> tuple[str, int]:
    """A group to which this process may give a file."""
    gid = pwd.getpwnam("nobody").pw_gid if os.geteuid() == 0 else os.getegid()
    return grp.getgrgid(gid).gr_name, gid


class TestTcp:
    """host:port."""

    @pytest.mark.parametrize(
        ("host", "family", "name"),
        [
            ("127.0.0.1", socket.AF_INET, "127.0.0.1"),
            ("::1", socket.AF_INET6, "::1"),
            ("::", socket.AF_INET6, "::"),
        ],
    )
    def test_bound(self, host: str, family: socket.AddressFamily, name: str) -> None:
        """The socket is bound to the address, and not yet listening."""
        with Sockets([]).open(tcp(host)) as sock:
            assert (sock.family, sock.getsockname()[0]) == (family, name)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 0
            sock.listen()
            with socket.create_connection((host, sock.getsockname()[1])):
                pass

    def test_both_families_on_one_port(self) -> None:
        """`[::]:PORT` leaves `0.0.0.0:PORT` free, so that both can be configured."""
        listening = Sockets([])
        with listening.open(tcp("::")) as six:
            port = six.getsockname()[1]
            with listening.open(tcp("0.0.0.0", port)) as four:
                assert four.getsockname() == ("0.0.0.0", port)

    def test_name(self) -> None:
        """A host name stands for its address."""
        with Sockets([]).open(tcp("localhost")) as sock:
            assert sock.getsockname()[0] in {"127.0.0.1", "::1"}

    def test_port_again_after_a_restart(self) -> None:
        """What is left of old connections does not keep a port from the next process."""
        listening = Sockets([])
        with listening.open(tcp()) as sock:
            sock.listen()
            address = sock.getsockname()
            with socket.create_connection(address):
                sock.accept()[0].close()  # this side closes first, and is left in TIME_WAIT
        with listening.open(tcp(*address)) as again:
            assert again.getsockname() == address

    def test_in_use(self) -> None:
        """A port on which somebody listens is refused; the reason names it."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            with pytest.raises(ListenError) as caught:
                Sockets([]).open(tcp(port=port))
        assert str(caught.value).startswith(f"cannot listen on 127.0.0.1:{port}: ")
        assert "Address already in use" in str(caught.value)

    def test_unknown_name(self) -> None:
        """A name without address is refused, also where sockets were handed over."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            for inherited in ([], [other]):
                with pytest.raises(ListenError, match=r"^cannot listen on nowhere\.invalid:1: "):
                    Sockets(inherited).open(tcp("nowhere.invalid", 1))


class TestUnix:
    """unix:/path."""

    @pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
    def test_mode_owner_group(self, path: Path, mode: int) -> None:
        """The file has the mode, owner and group that the configuration says."""
        user, uid = an_account()
        group, gid = a_group()
        listener = ListenerSettings(socketmap=UnixAddress(path), mode=mode, owner=user, group=group)
        with Sockets([]).open(listener):
            status = path.stat()
        assert stat.S_ISSOCK(status.st_mode)
        assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (mode, uid, gid)

    def test_ids(self, path: Path) -> None:
        """Owner and group may be numbers."""
        uid, gid = an_account()[1], a_group()[1]
        listener = ListenerSettings(socketmap=UnixAddress(path), owner=uid, group=gid)
        with Sockets([]).open(listener):
            assert (path.stat().st_uid, path.stat().st_gid) == (uid, gid)

    @pytest.mark.parametrize(("umask", "mode"), [(0o027, 0o750), (0o000, 0o777), (0o177, 0o600)])
    def test_umask(self, path: Path, umask: int, mode: int) -> None:
        """Where the configuration says nothing, the mode is what the umask leaves."""
        before = os.umask(umask)
        try:
            with Sockets([]).open(ListenerSettings(socketmap=UnixAddress(path))):
                assert stat.S_IMODE(path.stat().st_mode) == mode
            assert os.umask(umask) == umask
        finally:
            os.umask(before)

    @pytest.mark.parametrize(("owner", "group"), [("no-such-one", None), (None, "no-such-one")])
    def test_unknown_account(self, path: Path, owner: str | None, group: str | None) -> None:
        """An account that does not exist is refused by name, and its file goes at the end."""
        listening = Sockets([])
        with pytest.raises(ListenError, match="no-such-one"):
            listening.open(ListenerSettings(socketmap=UnixAddress(path), owner=owner, group=group))
        listening.close()
        assert not path.exists()

    def test_stale_file_is_replaced(self, path: Path) -> None:
        """A socket file that nobody listens on, left by `kill -9`, is no obstacle."""
        with left_behind(path):
            pass
        with Sockets([]).open(ListenerSettings(socketmap=UnixAddress(path))) as sock:
            sock.listen()
            assert connects(path)

    @pytest.mark.parametrize("backlog", [0, 10])
    def test_living_one_is_refused(self, path: Path, backlog: int) -> None:
        """A socket on which another process listens stays its own, also if it is very busy."""
        with left_behind(path) as other, socket.socket(socket.AF_UNIX) as waiting:
            other.listen(backlog)
            waiting.connect(str(path))
            with pytest.raises(ListenError, match="another process is listening on it"):
                Sockets([]).open(ListenerSettings(socketmap=UnixAddress(path)))
            other.accept()[0].close()
            assert connects(path)

    def test_other_file_is_refused(self, path: Path) -> None:
        """A file that is no socket is not touched."""
        path.write_text("precious")
        with pytest.raises(ListenError, match="exists and is not a socket"):
            Sockets([]).open(ListenerSettings(socketmap=UnixAddress(path)))
        assert path.read_text() == "precious"

    def test_no_folder(self, path: Path) -> None:
        """A folder that is not there is not made: it would have the wrong owner."""
        with pytest.raises(ListenError, match="No such file or directory"):
            Sockets([]).open(ListenerSettings(socketmap=UnixAddress(path / "s")))


class TestOpenControl:
    """The control socket."""

    def test_own_folder(self, path: Path) -> None:
        """Its folder is made, and both are for their owner alone."""
        with unwrapped(Sockets([]).open_control(path / "a" / "c", ControlSettings())) as sock:
            sock.listen()
            assert connects(path / "a" / "c")
        assert stat.S_IMODE((path / "a").stat().st_mode) == 0o700
        assert stat.S_IMODE((path / "a" / "c").stat().st_mode) == 0o600

    def test_access(self, path: Path) -> None:
        """Mode and group are those of the configuration."""
        name, gid = a_group()
        with unwrapped(Sockets([]).open_control(path, ControlSettings(mode=0o660, group=name))):
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
            assert path.stat().st_gid == gid

    def test_a_folder_that_is_there_stays_as_it_is(self, path: Path) -> None:
        """Who may look into a folder that was there before is not for us to say."""
        path.mkdir(mode=0o755)
        with unwrapped(Sockets([]).open_control(path / "c", ControlSettings())):
            assert stat.S_IMODE(path.stat().st_mode) == 0o755

    def test_stale_file_is_replaced(self, path: Path) -> None:
        """What a daemon that was killed has left is no obstacle."""
        with left_behind(path):
            pass
        with unwrapped(Sockets([]).open_control(path, ControlSettings())) as sock:
            sock.listen()
            assert connects(path)

    @pytest.mark.parametrize("name", ["f/c", "d", "x" * 200])
    def test_cannot_be_had(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
    ) -> None:
        """Where it cannot be had the daemon goes on without: that is one line in the log."""
        (tmp_path / "f").write_text("a file")
        (tmp_path / "d").mkdir()
        assert Sockets([]).open_control(tmp_path / name, ControlSettings()) is None
        assert [m.split(" path=")[0] for m in caplog.messages] == ["no control socket"]

    def test_busy(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """The socket of a daemon that runs stays its own."""
        with left_behind(path):
            assert Sockets([]).open_control(path, ControlSettings()) is None
            assert connects(path)
        assert "another process is listening on it" in caplog.messages[0]


class TestOpenAll:
    """The sockets of a whole configuration."""

    def test_in_order(self, path: Path) -> None:
        """There is one for each listener, in their order."""
        listeners = [tcp(), ListenerSettings(tcp_table=UnixAddress(path)), tcp("::1")]
        with contextlib.ExitStack() as stack:
            socks = [stack.enter_context(s) for s in Sockets([]).open_all(listeners)]
            families = [socket.AF_INET, socket.AF_UNIX, socket.AF_INET6]
            assert [sock.family for sock in socks] == families

    def test_all_or_none(self, path: Path) -> None:
        """Where one cannot be had, the others are given up, so that they can be tried again."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            listeners = [
                ListenerSettings(socketmap=UnixAddress(path)),
                tcp(port=other.getsockname()[1]),
            ]
            with pytest.raises(ListenError):
                Sockets([]).open_all(listeners)
        assert not connects(path)

    def test_unclaimed_is_warned_of(self, caplog: pytest.LogCaptureFixture) -> None:
        """A socket that was handed over for nothing is named in the log."""
        caplog.set_level(logging.WARNING)
        with closing(socket.create_server(("127.0.0.1", 0))) as other:
            address = "{}:{}".format(*other.getsockname())
            Sockets([other]).open_all([tcp()])[0].close()
            assert other.fileno() == -1
        assert caplog.messages == [f"inherited socket fits no listener address={address}"]


class TestClose:
    """What is left behind."""

    def test_own_file_is_removed(self, path: Path) -> None:
        """The file that was made here goes; without it there is nothing to complain of."""
        listening = Sockets([])
        with listening.open(ListenerSettings(socketmap=UnixAddress(path))):
            listening.close()
            assert not path.exists()
            listening.close()

    def test_dropped(self, path: Path) -> None:
        """The file of a listener that is no more goes, those of others stay."""
        listening, other = Sockets([]), path.with_name("other")
        with (
            listening.open(ListenerSettings(socketmap=UnixAddress(path))),
            listening.open(ListenerSettings(socketmap=UnixAddress(other))),
        ):
            listening.drop(UnixAddress(path))
            assert not path.exists()
            assert other.exists()

    def test_permitted(self, path: Path) -> None:
        """Who may connect can be changed while the socket is open."""
        listening, address = Sockets([]), UnixAddress(path)
        with listening.open(ListenerSettings(socketmap=address, mode=0o600)):
            listening.permit(address, ListenerSettings(socketmap=address, mode=0o660))
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
            with pytest.raises(ListenError, match="cannot change"):
                listening.permit(address, ListenerSettings(socketmap=address, owner="no such user"))

    def test_the_next_one_s_file_is_left(self, path: Path) -> None:
        """A socket that another process has made under the same name meanwhile is its own."""
        listening, successor = Sockets([]), Sockets([])
        with listening.open(ListenerSettings(socketmap=UnixAddress(path))):
            path.unlink()
            with successor.open(ListenerSettings(socketmap=UnixAddress(path))) as sock:
                sock.listen()
                listening.close()
                assert connects(path)

    def test_inherited_file_is_left(self, path: Path) -> None:
        """The file of a socket that was handed over is that of who made it."""
        with left_behind(path) as sock:
            systemd_s = sock.dup()
            listening = Sockets([sock])
            with systemd_s, listening.open(ListenerSettings(socketmap=UnixAddress(path))):
                listening.close()
                assert connects(path)


class TestInherited:
    """Sockets that were handed over."""

    def test_claimed_by_address(self, path: Path) -> None:
        """Each is used for the listener that has its address, whatever their order."""
        with (
            socket.create_server(("127.0.0.1", 0)) as four,
            socket.create_server(("::1", 0), family=socket.AF_INET6) as six,
            left_behind(path) as unix,
        ):
            listening = Sockets([four, six, unix])
            for listener, handed_over in (
                (ListenerSettings(socketmap=UnixAddress(path)), unix),
                (tcp("::1", six.getsockname()[1]), six),
                (tcp("127.0.0.1", four.getsockname()[1]), four),
            ):
                with listening.open(listener) as sock:
                    assert sock.getsockname() == handed_over.getsockname()
            assert listening.unclaimed() == []

    def test_claimed_by_name(self) -> None:
        """A host name claims a socket at one of its addresses."""
        with (
            socket.create_server(("127.0.0.1", 0)) as sock,
            Sockets([sock]).open(tcp("localhost", sock.getsockname()[1])) as opened,
        ):
            assert opened.getsockname() == sock.getsockname()

    def test_claimed_once(self) -> None:
        """A socket serves one listener: who asks for the same address again is refused."""
        with socket.create_server(("127.0.0.1", 0)) as sock:
            listening = Sockets([sock])
            port = sock.getsockname()[1]
            with listening.open(tcp(port=port)), pytest.raises(ListenError):
                listening.open(tcp(port=port))

    def test_claimed_again(self) -> None:
        """A listener that went with one reload and comes again with another has it back."""
        with socket.create_server(("127.0.0.1", 0)) as sock:
            listening = Sockets([sock])
            listener = tcp(port=sock.getsockname()[1])
            listening.open(listener).close()
            listening.drop(listener.address)
            with listening.open(listener) as opened:
                assert opened.getsockname() == sock.getsockname()

    def test_unclaimed_are_closed_and_named(self, path: Path) -> None:
        """What fits no listener is closed, so that nobody waits there for an answer."""
        with (
            closing(socket.create_server(("127.0.0.1", 0))) as sock,
            left_behind(path) as unix,
            closing(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)) as other,
        ):
            address = sock.getsockname()
            listening = Sockets([sock, unix, other])
            with listening.open(tcp()):
                named = listening.unclaimed()
            assert named[:2] == [f"{address[0]}:{address[1]}", f"unix:{path}"]
            assert len(named) == 3
            assert [s.fileno() for s in (sock, unix, other)] == [-1, -1, -1]
            assert listening.unclaimed() == []
