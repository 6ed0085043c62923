"""Opening listening sockets, and removing their files."""

import errno
import os
import socket
import stat
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import pytest

from postfix_mta_sts.config.settings import ControlSettings
from postfix_mta_sts.sockets import ListenError, Sockets
from tests.support.ports import free_port
from tests.support.sockets import a_group, an_account, connects, other_process, tcp, unix


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of a UNIX socket."""
    return tmp_path / "s"


def present(sock: socket.socket | None) -> socket.socket:
    """See that a socket could be opened."""
    assert sock
    return sock


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
        """The socket is bound to the address, and does not listen yet."""
        with Sockets([]).open(tcp(host)) as sock:
            assert (sock.family, sock.getsockname()[0]) == (family, name)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 0
            sock.listen()
            with socket.create_connection((host, sock.getsockname()[1])):
                pass

    def test_both_families_on_one_port(self) -> None:
        """`[::]:PORT` leaves `0.0.0.0:PORT` free, so that both can be configured."""
        sockets, port = Sockets([]), free_port()
        with sockets.open(tcp("::", port)), sockets.open(tcp("0.0.0.0", port)) as four:
            assert four.getsockname() == ("0.0.0.0", port)

    def test_name(self) -> None:
        """A host name stands for its address."""
        with Sockets([]).open(tcp("localhost")) as sock:
            assert sock.getsockname()[0] in {"127.0.0.1", "::1"}

    def test_port_after_a_restart(self) -> None:
        """Old connections in TIME_WAIT do not keep the port from the next process."""
        sockets = Sockets([])
        with sockets.open(tcp()) as sock:
            sock.listen()
            address = sock.getsockname()
            with socket.create_connection(address):
                sock.accept()[0].close()  # this side closes first, so it enters TIME_WAIT
        with sockets.open(tcp(*address)) as again:
            assert again.getsockname() == address

    def test_in_use(self) -> None:
        """A port that another process listens on is refused; the error names it."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            with pytest.raises(ListenError) as caught:
                Sockets([]).open(tcp(port=port))
        assert str(caught.value).startswith(f"cannot listen on 127.0.0.1:{port}: ")
        assert "Address already in use" in str(caught.value)

    def test_unknown_name(self) -> None:
        """A host name without address is refused, with and without inherited sockets."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            for inherited in ([], [other]):
                with pytest.raises(ListenError, match=r"^cannot listen on nowhere\.invalid:1: "):
                    Sockets(inherited).open(tcp("nowhere.invalid", 1))


class TestUnix:
    """unix:/path."""

    @pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
    def test_mode_owner_group(self, path: Path, mode: int) -> None:
        """The file has the configured mode, owner and group."""
        user, uid = an_account()
        group, gid = a_group()
        with Sockets([]).open(unix(path, mode=mode, owner=user, group=group)):
            status = path.stat()
        assert stat.S_ISSOCK(status.st_mode)
        assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (mode, uid, gid)

    def test_ids(self, path: Path) -> None:
        """Owner and group may be numbers."""
        uid, gid = an_account()[1], a_group()[1]
        with Sockets([]).open(unix(path, owner=uid, group=gid)):
            assert (path.stat().st_uid, path.stat().st_gid) == (uid, gid)

    @pytest.mark.parametrize(("umask", "mode"), [(0o027, 0o750), (0o000, 0o777), (0o177, 0o600)])
    def test_umask(self, path: Path, umask: int, mode: int) -> None:
        """Without a configured mode, the umask decides."""
        before = os.umask(umask)
        try:
            with Sockets([]).open(unix(path)):
                assert stat.S_IMODE(path.stat().st_mode) == mode
            assert os.umask(umask) == umask
        finally:
            os.umask(before)

    @pytest.mark.parametrize(("owner", "group"), [("no-such-one", None), (None, "no-such-one")])
    def test_unknown_account(self, path: Path, owner: str | None, group: str | None) -> None:
        """An account that does not exist is refused by name; `close` removes the file."""
        sockets = Sockets([])
        with pytest.raises(ListenError, match="no-such-one"):
            sockets.open(unix(path, owner=owner, group=group))
        sockets.close()
        assert not path.exists()

    @pytest.mark.parametrize(
        ("owner", "group", "groups", "reason"),
        [
            (4711, 4712, [], "may not give a file to user 4711; leave owner out"),
            (None, 4712, [], "is not in group 4712; add it, or leave group out"),
            (None, 4712, [4712], "chown is forbidden, .*; allow @chown in the unit"),
        ],
    )
    def test_chown_is_not_allowed(
        self,
        path: Path,
        monkeypatch: pytest.MonkeyPatch,
        owner: int | None,
        group: int,
        groups: list[int],
        reason: str,
    ) -> None:
        """An owner or a group that this user may not give is refused, with what to do."""

        def refused(*_: object) -> NoReturn:
            raise PermissionError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "chown", refused)
        monkeypatch.setattr(os, "getgroups", lambda: groups)
        with pytest.raises(ListenError, match=f"cannot listen on unix:{path}: .*{reason}"):
            Sockets([]).open(unix(path, owner=owner, group=group))

    def test_stale_file_of_another_user(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """One that this user may not remove is refused, with what to do (D11)."""

        def refused(_: Path) -> NoReturn:
            raise PermissionError(errno.EACCES, "Permission denied")

        with other_process(path):
            pass
        monkeypatch.setattr(Path, "unlink", refused)
        with pytest.raises(ListenError, match=f"belongs to user .*, remove it: rm {path}"):
            Sockets([]).open(unix(path))

    def test_stale_file_is_replaced(self, path: Path) -> None:
        """A socket file that no process listens on, as `kill -9` leaves it, is replaced."""
        with other_process(path):
            pass
        with Sockets([]).open(unix(path)) as sock:
            sock.listen()
            assert connects(path)

    @pytest.mark.parametrize("backlog", [0, 10])
    def test_file_in_use_is_refused(self, path: Path, backlog: int) -> None:
        """The socket of another process is not taken away, even if its backlog is full."""
        with other_process(path) as other, socket.socket(socket.AF_UNIX) as waiting:
            other.listen(backlog)
            waiting.connect(str(path))
            with pytest.raises(ListenError, match="another process is listening on it"):
                Sockets([]).open(unix(path))
            other.accept()[0].close()
            assert connects(path)

    def test_other_file_is_refused(self, path: Path) -> None:
        """A file that is not a socket is not touched."""
        path.write_text("precious")
        with pytest.raises(ListenError, match="exists and is not a socket"):
            Sockets([]).open(unix(path))
        assert path.read_text() == "precious"

    def test_no_directory(self, path: Path) -> None:
        """A missing directory is not created: it would have the wrong owner."""
        with pytest.raises(ListenError, match=r"there is no folder .*; create it"):
            Sockets([]).open(unix(path / "s"))


class TestOpenControl:
    """The control socket."""

    def test_own_directory(self, path: Path) -> None:
        """Its directory is created; only its owner has access to both."""
        with present(Sockets([]).open_control(path / "a" / "c", ControlSettings())) as sock:
            sock.listen()
            assert connects(path / "a" / "c")
        assert stat.S_IMODE((path / "a").stat().st_mode) == 0o700
        assert stat.S_IMODE((path / "a" / "c").stat().st_mode) == 0o600

    def test_access(self, path: Path) -> None:
        """It has the configured mode and group."""
        name, gid = a_group()
        with present(Sockets([]).open_control(path, ControlSettings(mode=0o660, group=name))):
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
            assert path.stat().st_gid == gid

    def test_existing_directory_is_not_changed(self, path: Path) -> None:
        """An existing directory keeps its permissions."""
        path.mkdir(mode=0o755)
        with present(Sockets([]).open_control(path / "c", ControlSettings())):
            assert stat.S_IMODE(path.stat().st_mode) == 0o755

    def test_stale_file_is_replaced(self, path: Path) -> None:
        """The socket file of a killed daemon is replaced."""
        with other_process(path):
            pass
        with present(Sockets([]).open_control(path, ControlSettings())) as sock:
            sock.listen()
            assert connects(path)

    @pytest.mark.parametrize("name", ["f/c", "d", "x" * 200])
    def test_failure_is_logged(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
    ) -> None:
        """If it cannot be opened, the daemon runs without it and logs one line."""
        (tmp_path / "f").write_text("a file")
        (tmp_path / "d").mkdir()
        assert Sockets([]).open_control(tmp_path / name, ControlSettings()) is None
        assert [m.split(" path=")[0] for m in caplog.messages] == ["control socket unavailable"]
        assert "Errno" not in caplog.text

    def test_in_use(self, path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """The control socket of a running daemon is not taken away."""
        with other_process(path):
            assert Sockets([]).open_control(path, ControlSettings()) is None
            assert connects(path)
        assert "another process is listening on it" in caplog.messages[0]


class TestPermit:
    """Permissions of an open socket."""

    def test_changed_and_restored(self, path: Path) -> None:
        """Mode and group change while the socket is open; undo restores them."""
        sockets, before = Sockets([]), unix(path, mode=0o600)
        name, gid = a_group()
        with sockets.open(before):
            old_gid = path.stat().st_gid
            with ExitStack() as undo:
                sockets.permit(unix(path, mode=0o660, group=name), undo)
                assert (stat.S_IMODE(path.stat().st_mode), path.stat().st_gid) == (0o660, gid)
            assert (stat.S_IMODE(path.stat().st_mode), path.stat().st_gid) == (0o600, old_gid)

    def test_unknown_account(self, path: Path) -> None:
        """An account that does not exist is refused, and nothing changes."""
        sockets = Sockets([])
        with (
            sockets.open(unix(path, mode=0o600)),
            pytest.raises(ListenError, match="cannot change"),
            ExitStack() as undo,
        ):
            sockets.permit(unix(path, mode=0o660, owner="no-such-one"), undo)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_tcp_has_none(self) -> None:
        """There is nothing to change at a TCP address."""
        with ExitStack() as undo:
            Sockets([]).permit(tcp(), undo)


class TestFiles:
    """Removal of socket files."""

    def test_close_removes_own_files(self, path: Path) -> None:
        """The file that was made here is removed; a second `close` is no error."""
        sockets = Sockets([])
        with sockets.open(unix(path)):
            sockets.close()
            assert not path.exists()
            sockets.close()

    def test_release_removes_one_file(self, path: Path) -> None:
        """`release` removes the file of one address and leaves the others."""
        sockets, other = Sockets([]), path.with_name("other")
        with sockets.open(unix(path)), sockets.open(unix(other)):
            sockets.release(unix(path).address)
            assert not path.exists()
            assert other.exists()

    def test_file_of_the_next_process_is_left(self, path: Path) -> None:
        """A socket that another process made under the same name meanwhile is left alone."""
        sockets, successor = Sockets([]), Sockets([])
        with sockets.open(unix(path)):
            path.unlink()
            with successor.open(unix(path)) as sock:
                sock.listen()
                sockets.close()
                assert connects(path)
