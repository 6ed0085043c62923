"""The daemon's control socket, listeners, process and store, as a command finds them."""

import asyncio
import os
import socket
from functools import partial
from pathlib import Path

import pytest

from postfix_mta_sts.admin.client import ControlClient
from postfix_mta_sts.admin.doctor.collect_daemon import (
    Process,
    ask_daemon,
    look_at_store,
    read_process,
    without_control,
)
from postfix_mta_sts.admin.doctor.snapshot import Daemon, DaemonState, StoreFile
from postfix_mta_sts.config.address import TcpAddress, UnixAddress
from postfix_mta_sts.config.settings import ListenerSettings
from postfix_mta_sts.permissions import Account
from tests.support.control import ControlledDaemon
from tests.support.plain_user import as_plain_user
from tests.support.ports import free_port
from tests.support.surroundings import Surroundings

SECONDS = 30.0
"""For an answer: enough for a busy machine."""
STRANGER = Account(54321, 54321)


class TestControl:
    """The control socket."""

    async def test_answers(self, tmp_path: Path) -> None:
        """The status of a daemon that runs."""
        async with ControlledDaemon(Surroundings()).controlled(tmp_path) as path:
            client = ControlClient(path, SECONDS)
            daemon = await asyncio.to_thread(partial(ask_daemon, client))
        assert daemon.state is DaemonState.ANSWERS
        assert daemon.status is not None
        assert daemon.status["answering"] == {"ok": True, "reason": None}

    def test_not_running(self, tmp_path: Path) -> None:
        """There is no socket."""
        daemon = ask_daemon(ControlClient(tmp_path / "control.sock", SECONDS))
        assert (daemon.state, daemon.status) == (DaemonState.NOT_RUNNING, None)
        assert daemon.reason.startswith(f"there is no control socket {tmp_path}")

    def test_hangs(self, tmp_path: Path) -> None:
        """A process listens, and does not answer."""
        path = tmp_path / "control.sock"
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(path))
            sock.listen()
            daemon = ask_daemon(ControlClient(path, 0.05))
        assert daemon.state is DaemonState.HANGS
        assert daemon.reason.startswith("no answer from the daemon for 0.05 s")

    def test_denied(self, tmp_path: Path) -> None:
        """Another user than root may not open it."""
        folder = tmp_path / "closed"
        folder.mkdir(mode=0o000)
        imports = (
            "from pathlib import Path\n"
            "from postfix_mta_sts.admin.client import ControlClient\n"
            "from postfix_mta_sts.admin.doctor.collect_daemon import ask_daemon"
        )
        code = "print(ask_daemon(ControlClient(Path(sys.argv[1]), float(sys.argv[2]))).state)"
        state = as_plain_user(imports, code, folder / "control.sock", SECONDS)
        assert state == f"{DaemonState.DENIED}\n"


class TestListeners:
    """A daemon that has no control socket."""

    STOPPED = Daemon(DaemonState.NOT_RUNNING, "there is no control socket")

    async def test_one_answers(self, tmp_path: Path) -> None:
        """A listener answers: the daemon runs."""

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b",")
            writer.write(b"9:NOTFOUND ,")
            writer.close()

        path = tmp_path / "socketmap"
        gone = ListenerSettings(socketmap=TcpAddress("127.0.0.1", free_port()))
        listeners = [gone, ListenerSettings(socketmap=UnixAddress(path))]
        async with await asyncio.start_unix_server(answer, path):
            found = await without_control(self.STOPPED, listeners)
        assert found == Daemon(DaemonState.NO_CONTROL, self.STOPPED.reason)

    async def test_none_answers(self) -> None:
        """It is stopped; a listener on any free port cannot be asked."""
        ports = (free_port(), 0)
        listeners = [ListenerSettings(socketmap=TcpAddress("127.0.0.1", port)) for port in ports]
        assert await without_control(self.STOPPED, listeners) == self.STOPPED


class TestProcess:
    """The process of the daemon."""

    def test_fake(self, tmp_path: Path) -> None:
        """Its words, and its effective user and group."""
        folder = tmp_path / "12"
        folder.mkdir()
        (folder / "cmdline").write_bytes(b"python3\0/usr/bin/postfix-mta-sts\0serve\0--x\x1b\0")
        (folder / "status").write_text("Name:\tx\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\n")
        words = ("python3", "/usr/bin/postfix-mta-sts", "serve", r"--x\x1b")
        assert read_process(12, tmp_path) == Process(words, Account(2, 6))

    def test_real(self) -> None:
        """This process."""
        assert read_process(os.getpid()).account == Account(os.geteuid(), os.getegid())

    def test_gone(self, tmp_path: Path) -> None:
        """A process that has ended, or that another user may not see, is an error of the system."""
        with pytest.raises(FileNotFoundError):
            read_process(12, tmp_path)

    def test_no_such_line(self, tmp_path: Path) -> None:
        """So is a kernel that does not show its user."""
        folder = tmp_path / "12"
        folder.mkdir()
        for name in ("cmdline", "status"):
            (folder / name).touch()
        with pytest.raises(OSError, match="no Uid in /proc"):
            read_process(12, tmp_path)


class TestStore:
    """What the daemon's user may do."""

    @staticmethod
    def look(path: Path, account: Account) -> tuple[bool, bool]:
        """Whether it may read, and write."""
        found = look_at_store(path, account)
        assert found == StoreFile(str(path), str(path.parent), found.is_readable, found.is_writable)
        return found.is_readable, found.is_writable

    @pytest.mark.parametrize(
        ("folder_mode", "mode", "expected"),
        [
            (0o700, 0o666, (False, False)),
            (0o755, 0o644, (True, False)),
            (0o755, 0o666, (True, False)),
            (0o777, 0o644, (True, False)),
            (0o777, 0o666, (True, True)),
            (0o777, 0o600, (False, False)),
        ],
    )
    def test_others(
        self, tmp_path: Path, folder_mode: int, mode: int, expected: tuple[bool, bool]
    ) -> None:
        """Another user than the owner, by the mode of the file and of the folder."""
        folder = tmp_path / "state"
        folder.mkdir()
        path = folder / "policies.db"
        path.touch()
        path.chmod(mode)
        folder.chmod(folder_mode)
        assert self.look(path, STRANGER) == expected

    def test_owner(self, tmp_path: Path) -> None:
        """The owner may do all."""
        path = tmp_path / "policies.db"
        path.touch(0o600)
        assert self.look(path, Account(os.geteuid(), os.getegid())) == (True, True)

    def test_no_file_yet(self, tmp_path: Path) -> None:
        """The daemon creates the file, if it may write to the folder."""
        tmp_path.chmod(0o755)
        assert self.look(tmp_path / "policies.db", STRANGER) == (True, False)
        tmp_path.chmod(0o777)
        assert self.look(tmp_path / "policies.db", STRANGER) == (True, True)

    def test_no_folder(self, tmp_path: Path) -> None:
        """A folder that is not there is an error of the system."""
        with pytest.raises(FileNotFoundError):
            look_at_store(tmp_path / "none" / "policies.db", STRANGER)
