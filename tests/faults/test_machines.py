"""Machines that lack what most have: a home, a passwd entry, an address family, a group."""

import asyncio
import errno
import json
import os
import pwd
import signal
import socket
import stat
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from postfix_mta_sts import sockets
from postfix_mta_sts.config import default_paths
from postfix_mta_sts.config import settings as config
from postfix_mta_sts.config.default_paths import default_cache_path, default_control_path
from postfix_mta_sts.config.settings import Settings
from postfix_mta_sts.daemon import assembly
from postfix_mta_sts.daemon.assembly import running
from postfix_mta_sts.daemon.daemon import Daemon
from postfix_mta_sts.network import supervisor
from postfix_mta_sts.network.process import NetworkProcess
from postfix_mta_sts.permissions import Account
from postfix_mta_sts.postfix import access
from postfix_mta_sts.sockets import ListenError
from tests.support.clients import connected
from tests.support.daemons import RunningDaemon, daemon, process, secure
from tests.support.http import exchange
from tests.support.internet import Internet
from tests.support.network_processes import children
from tests.support.ports import free_port


@pytest.fixture
def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without $HOME that passwd(5) does not know, as `docker run --user 12345` makes one."""

    def unknown(_: object) -> NoReturn:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(pwd, "getpwnam", unknown)


@pytest.mark.usefixtures("no_home")
class TestNoHome:
    """D10: a user without a home, which no file of the system knows."""

    async def test_the_daemon_starts(
        self, net: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With `cache.path` it answers; only the control socket may be missing."""
        monkeypatch.setattr(default_paths, "_STATE_FOLDER", tmp_path)  # not /var/lib, if root tests
        changes = {"control": {"path": None}}
        settings = net.settings(tmp_path, changes)
        async with running(settings, {}, https_port=net.hosts.port):
            assert await RunningDaemon(tmp_path).ask("good.test") == secure("good.test")

    def test_default_paths(self) -> None:
        """Without a path in the settings it is the folder of the systemd service."""
        folder = Path("/var/lib/postfix-mta-sts")
        assert default_cache_path({}) == folder / "policies.db"
        assert default_control_path({}) == folder / "control.sock"


def listening_at(net: Internet, folder: Path, *listeners: Mapping[str, object]) -> Settings:
    """The settings of a daemon with these listeners."""
    return config.parse(json.dumps({**net.options(folder), "listen": listeners}), "test")


@asynccontextmanager
async def served(
    net: Internet, folder: Path, *listeners: Mapping[str, object]
) -> AsyncIterator[Daemon]:
    """A daemon with these listeners."""
    settings = listening_at(net, folder, *listeners)
    async with running(settings, {}, https_port=net.hosts.port) as daemon:
        yield daemon


class TestUnixListener:
    """D6: a UNIX listener without `mode`."""

    @pytest.fixture(autouse=True)
    def postfix(self, monkeypatch: pytest.MonkeyPatch) -> Account:
        """The user of Postfix; this process may give files to its group if it is root."""
        account = Account(4711, 4712)
        monkeypatch.setattr(assembly, "postfix_account", lambda: account)
        return account

    async def test_mode(self, net: Internet, tmp_path: Path) -> None:
        """The group of the socket may write, whatever the umask is."""
        before = os.umask(0o077)
        try:
            async with served(net, tmp_path, {"socketmap": f"unix:{tmp_path / 's'}"}):
                assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o660
        finally:
            os.umask(before)

    async def test_group_of_postfix(
        self, net: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The group is that of Postfix, if the daemon may give it."""
        group = os.getegid()  # without root there is no other one
        monkeypatch.setattr(assembly, "postfix_account", lambda: Account(4711, group))
        async with served(net, tmp_path, {"socketmap": f"unix:{tmp_path / 's'}"}):
            assert (tmp_path / "s").stat().st_gid == group

    async def test_group_that_cannot_be_given(
        self,
        net: Internet,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """The daemon starts, with one warning that has the two lines for the unit."""

        def refused(*_: object) -> NoReturn:
            raise PermissionError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "chown", refused)
        monkeypatch.setattr(access, "obstacle", lambda path, _: path)
        async with (
            served(net, tmp_path, {"socketmap": f"unix:{tmp_path / 's'}"}),
            connected(tmp_path / "s") as client,
        ):
            assert await client.ask("good.test") == secure("good.test")
        [line] = [each for each in caplog.messages if "may not connect" in each]
        assert "SupplementaryGroups=postfix, SystemCallFilter=@chown" in line

    async def test_configured_group_that_is_missing(self, net: Internet, tmp_path: Path) -> None:
        """It is refused by name: the administrator wants that group and no other."""
        path = f"unix:{tmp_path / 's'}"
        with pytest.raises(ListenError) as caught:
            async with served(net, tmp_path, {"socketmap": path, "group": "no-such-group"}):
                pass
        assert (
            str(caught.value)
            == f"cannot listen on {path}: this machine has no group no-such-group;"
            " create it, or name another one"
        )
        assert not (tmp_path / "s").exists()


class TestTcpListener:
    """D8: names with several addresses, all addresses, and a family that is switched off."""

    @pytest.fixture
    def port(self) -> int:
        """A port that is free in both families."""
        return free_port()

    @pytest.fixture
    def two_addresses(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The file hosts has ::1 for localhost, then 127.0.0.1."""
        real = socket.getaddrinfo

        def look_up(host: str, *args: object, **others: object) -> list[object]:
            hosts = ("::1", "127.0.0.1") if host == "localhost" else (host,)
            return [each for host in hosts for each in real(host, *args, **others)]  # type: ignore[arg-type] # as given

        monkeypatch.setattr(socket, "getaddrinfo", look_up)

    @pytest.mark.usefixtures("two_addresses")
    async def test_every_address_of_a_name(
        self, net: Internet, tmp_path: Path, port: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        """`localhost:PORT` answers over both families, and a reload keeps both sockets."""
        caplog.set_level("INFO")
        async with served(net, tmp_path, {"socketmap": f"localhost:{port}"}) as daemon:
            before = daemon.listeners.sockets
            await daemon.reload(daemon.settings)
            assert daemon.listeners.sockets == before
            for host in ("::1", "127.0.0.1"):
                async with connected((host, port)) as client:
                    assert await client.ask("good.test") == secure("good.test")
        said = [each for each in caplog.messages if each.startswith("listening")]
        assert said == [
            f"listening wire=socketmap address=[::1]:{port} name=localhost:{port}",
            f"listening wire=socketmap address=127.0.0.1:{port} name=localhost:{port}",
        ]

    @pytest.mark.usefixtures("two_addresses")
    async def test_ipv6_is_off(
        self,
        net: Internet,
        tmp_path: Path,
        port: int,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """The other address of the name answers; an address alone is refused."""
        caplog.set_level("INFO")
        without_ipv6(monkeypatch)
        async with (
            served(net, tmp_path, {"socketmap": f"localhost:{port}"}),
            connected(("127.0.0.1", port)) as client,
        ):
            assert await client.ask("good.test") == secure("good.test")
        assert any(
            each.startswith("address of a listener is not available address=[::1]:")
            for each in caplog.messages
        )
        with pytest.raises(ListenError, match=r"\[::\]:\d+: .*Address family not supported"):
            async with served(net, tmp_path, {"socketmap": f"[::]:{port}"}):
                pass

    @pytest.mark.usefixtures("two_addresses")
    async def test_metrics(
        self,
        net: Internet,
        tmp_path: Path,
        port: int,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """`metrics.listen: localhost:PORT` answers over both families, also after reloads."""
        caplog.set_level("INFO")
        without, with_metrics = (
            net.settings(tmp_path, {"metrics": {"listen": listen}})
            for listen in (None, f"localhost:{port}")
        )
        async with running(without, {}, https_port=net.hosts.port) as daemon:
            for _ in range(2):
                await daemon.reload(with_metrics)
                for host in ("::1", "127.0.0.1"):
                    assert (await exchange((host, port), "GET /healthz")).status == 200
            await daemon.reload(without)
            without_ipv6(monkeypatch)
            await daemon.reload(with_metrics)
            assert (await exchange(("127.0.0.1", port), "GET /healthz")).status == 200
            with pytest.raises(ConnectionRefusedError):
                await exchange(("::1", port), "GET /healthz")
        [line] = [each for each in caplog.messages if "is not available" in each]
        assert line.startswith(
            f"address of a listener is not available address=[::1]:{port} name=localhost:{port} "
        )

    async def test_all_ipv6_addresses(
        self, net: Internet, tmp_path: Path, port: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        """`[::]` is IPv6 only, which the log says; 0.0.0.0 with the same port goes beside it."""
        caplog.set_level("INFO")
        six, four = ({"socketmap": f"{host}:{port}"} for host in ("[::]", "0.0.0.0"))
        async with served(net, tmp_path, six, four):
            for host in ("::1", "127.0.0.1"):
                async with connected((host, port)) as client:
                    assert await client.ask("good.test") == secure("good.test")
        said = [each for each in caplog.messages if each.startswith("listening")]
        assert said == [
            f'listening wire=socketmap address=[::]:{port} families="IPv6 only"',
            f"listening wire=socketmap address=0.0.0.0:{port}",
        ]


def without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse IPv6 sockets for listeners, as a kernel with `ipv6.disable=1` does."""
    real = socket.socket

    def make(family: int = socket.AF_INET, *args: int, **others: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
        return real(family, *args, **others)

    class Sockets:
        """The module `socket` as `sockets` sees it."""

        socket = staticmethod(make)

        def __getattr__(self, name: str) -> object:
            return getattr(socket, name)

    monkeypatch.setattr(sockets, "socket", Sockets())


class TestCtrlC:
    """D14: a signal to all processes of the daemon, right after the start."""

    async def test_before_the_network_process_has_begun(
        self, net: Internet, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Signals that come during its imports do not end it, and nothing is logged."""
        started = asyncio.Queue[int]()

        class Started(NetworkProcess):
            """A network process that gets the signals of a terminal the moment it exists."""

            async def start(self, *, is_urgent: bool = False) -> None:
                await super().start(is_urgent=is_urgent)
                assert self.pid
                for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                    os.kill(self.pid, signum)
                started.put_nowait(self.pid)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(supervisor, "NetworkProcess", Started)
            async with daemon(net, tmp_path) as running_daemon:
                assert await running_daemon.ask("good.test") == secure("good.test")
        assert started.qsize() == 1
        assert not [each for each in caplog.records if each.levelname == "ERROR"]

    async def test_the_whole_group(self, net: Internet, tmp_path: Path) -> None:
        """Ctrl-C ends the daemon and its process without an error or a traceback."""
        async with process(tmp_path, net.config(tmp_path)) as served:
            await served.start()
            for pid in (*children(served.pid), served.pid):
                os.kill(pid, signal.SIGINT)
            assert await served.ended() == 0
        assert "ERROR" not in served.log
        assert "Traceback" not in served.log
