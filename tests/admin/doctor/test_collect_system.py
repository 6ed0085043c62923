"""The unit as systemctl prints it, name servers on loopback, and CA certificates in files."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from postfix_mta_sts.admin.doctor import collect_system
from postfix_mta_sts.admin.doctor.collect_system import (
    NoUnitError,
    UnitSeen,
    ask_resolver,
    daemon_ca_problem,
    find_bundle,
    parse_units,
    read_unit,
)
from postfix_mta_sts.admin.doctor.snapshot import Resolver, Unit
from postfix_mta_sts.postfix.programs import MissingProgramError
from tests.support.dns import DnsServer, Fault
from tests.support.internet import authority
from tests.support.ports import free_port
from tests.support.scripts import script

SERVICE: Final = """\
LoadState=loaded
ActiveState=active
UnitFileState=enabled
ExecStart={ path=/usr/local/bin/postfix-mta-sts ; argv[]=postfix-mta-sts serve --workers 4 ; \
ignore_errors=no ; start_time=[n/a] ; stop_time=[n/a] ; pid=0 ; code=(null) ; status=0/0 }
FragmentPath=/etc/systemd/system/postfix-mta-sts.service
DropInPaths=/etc/systemd/system/postfix-mta-sts.service.d/a.conf /run/b.conf
MainPID=4711
User=postfix-mta-sts
"""
"""As systemd 252 prints it; 257 has the same."""
SOCKET: Final = """\
Id=postfix-mta-sts.socket
LoadState=loaded
ActiveState=active
UnitFileState=disabled
FragmentPath=/a
Listen=127.0.0.1:8461 (Stream)
Listen=/run/a b.sock (Stream)
Listen=/run/fifo (FIFO)
"""
NO_SOCKET: Final = "LoadState=not-found\nActiveState=inactive\nUnitFileState=\n"


SLEEPING: Final = ("127.0.0.1:8461", "/run/a b.sock")
"""Where the socket listens for connections."""


def units(service: str = SERVICE, socket: str = SOCKET) -> UnitSeen:
    """What `systemctl show` says of both units."""
    return parse_units(f"{service}\n{socket}")


class TestUnit:
    """The unit of the daemon."""

    def test_all(self) -> None:
        """Its words, its files, its process and its user."""
        assert units() == UnitSeen(
            Unit(
                is_active=True,
                is_enabled=True,
                command_line="postfix-mta-sts serve --workers 4",
                files=(
                    "/etc/systemd/system/postfix-mta-sts.service",
                    "/etc/systemd/system/postfix-mta-sts.service.d/a.conf",
                    "/run/b.conf",
                ),
            ),
            pid=4711,
            user="postfix-mta-sts",
        )

    @pytest.mark.parametrize(
        ("state", "socket", "is_enabled"),
        [
            ("enabled", NO_SOCKET, True),
            ("disabled", NO_SOCKET, False),
            ("disabled", SOCKET, False),
            ("disabled", SOCKET.replace("disabled", "enabled"), True),
            ("masked", NO_SOCKET, False),
            ("enabled-runtime", NO_SOCKET, False),
            ("static", NO_SOCKET, True),
        ],
    )
    def test_enabled(self, state: str, socket: str, *, is_enabled: bool) -> None:
        """The service or its socket starts with the machine."""
        service = SERVICE.replace("UnitFileState=enabled", f"UnitFileState={state}")
        assert units(service, socket).unit.is_enabled is is_enabled

    @pytest.mark.parametrize(
        ("state", "is_active"),
        [("active", True), ("reloading", True), ("inactive", False), ("failed", False)],
    )
    def test_active(self, state: str, *, is_active: bool) -> None:
        """A service that starts again after a failure is not active."""
        service = SERVICE.replace("ActiveState=active", f"ActiveState={state}")
        assert units(service).unit.is_active is is_active

    def test_stopped(self) -> None:
        """A service that never ran has no process, and may have no command."""
        never = "LoadState=loaded\nActiveState=inactive\nUnitFileState=enabled\nMainPID=0\n"
        seen = units(never)
        assert (seen.pid, seen.user, seen.sleeping) == (0, "", SLEEPING)
        assert seen.unit == Unit(
            is_active=False,
            is_enabled=True,
            command_line="",
            files=(),
            sockets=("postfix-mta-sts.socket",),
        )

    def test_stopped_without_sockets(self) -> None:
        """A socket unit that is not active starts nothing; a service that runs need not start."""
        never = SERVICE.replace("ActiveState=active", "ActiveState=failed")
        inactive = SOCKET.replace("ActiveState=active", "ActiveState=inactive")
        for seen in (units(never, NO_SOCKET), units(never, inactive), units()):
            assert (seen.unit.sockets, seen.sleeping) == ((), ())
        both = units(never, f"{NO_SOCKET}\n{SOCKET.replace('sts.', 'sts-chroot.')}")
        assert both.unit.sockets == ("postfix-mta-sts-chroot.socket",)
        assert both.sleeping == SLEEPING

    @pytest.mark.parametrize("text", ["", NO_SOCKET, "garbage"])
    def test_none(self, text: str) -> None:
        """A machine may have no such unit."""
        with pytest.raises(NoUnitError, match=r"systemd has no unit postfix-mta-sts\.service"):
            parse_units(text)

    async def test_asked(self, tmp_path: Path) -> None:
        """Both units are asked for at once."""
        folder = tmp_path / "out"
        folder.write_text(f"{SERVICE}\n{SOCKET}")
        command = script(tmp_path / "systemctl", f'echo "$@" > {tmp_path}/words; cat {folder}')
        assert (await read_unit([command])).pid == 4711
        words = (tmp_path / "words").read_text().split()
        assert words[0] == "show"
        assert words[-3:] == [
            "postfix-mta-sts.service",
            "postfix-mta-sts.socket",
            "postfix-mta-sts-chroot.socket",
        ]

    async def test_without_systemd(self, tmp_path: Path) -> None:
        """In a container, systemctl fails, or is not there."""
        reason = "System has not been booted with systemd as init system (PID 1)."
        command = script(tmp_path / "systemctl", f"echo '{reason}' >&2; exit 1")
        with pytest.raises(NoUnitError, match="systemctl failed: System has not been booted"):
            await read_unit([command])
        with pytest.raises(MissingProgramError):
            await read_unit([str(tmp_path / "none")])


class TestResolver:
    """Name servers."""

    @pytest.fixture
    async def server(self) -> AsyncIterator[DnsServer]:
        """A name server that validates the root."""
        async with DnsServer({". SOA": ["a. b. 1 2 3 4 5"]}, signed=["."]) as server:
            yield server

    async def test_validating(self, server: DnsServer) -> None:
        """Nothing is wrong with it."""
        assert await ask_resolver([server.address]) == Resolver("", (server.address,))

    async def test_not_validating(self, server: DnsServer) -> None:
        """It answers, and proves nothing."""
        server.signed.clear()
        found = await ask_resolver([server.address])
        assert (found.not_validating, found.silent) == ((server.address,), ())

    async def test_silent(self, server: DnsServer) -> None:
        """One of two does not answer, and is told from the other."""
        gone = f"127.0.0.1:{free_port()}"
        found = await ask_resolver([gone, server.address])
        assert (found.servers, found.silent) == ((gone, server.address), (gone,))
        assert found.not_validating == ()

    async def test_late(self, server: DnsServer) -> None:
        """A server that takes longer than its time counts as silent."""
        server.zone[". SOA"] = Fault.SILENCE
        found = await ask_resolver([server.address], timeout=0.05)
        assert found.silent == (server.address,)

    async def test_file(self, server: DnsServer, tmp_path: Path) -> None:
        """The servers of a file, such as that of the chroot."""
        path = tmp_path / "resolv.conf"
        path.write_text("nameserver 127.0.0.1\n")
        found = await ask_resolver(resolv_conf=path, port=server.port)
        assert found == Resolver(str(path), (server.address,))

    async def test_no_file(self, server: DnsServer, tmp_path: Path) -> None:
        """Without a file, smtp(8) asks this machine."""
        path = tmp_path / "resolv.conf"
        found = await ask_resolver(resolv_conf=path, port=server.port)
        assert found == Resolver(str(path), (server.address,))

    async def test_a_pipe(self, tmp_path: Path) -> None:
        """A FIFO in place of the file is not opened: nobody writes to it."""
        path = tmp_path / "resolv.conf"
        os.mkfifo(path)
        with pytest.raises(OSError, match="no regular file"):
            await ask_resolver(resolv_conf=path)

    async def test_elsewhere(self) -> None:
        """What a server on another machine says of DNSSEC cannot be believed."""
        found = await ask_resolver(["192.0.2.1"], timeout=0.05)
        assert (found.are_local, found.silent) == (False, ("192.0.2.1:53",))


class TestAuthorities:
    """CA certificates."""

    def test_bundle(self, tmp_path: Path) -> None:
        """The first file that has something."""
        (tmp_path / "empty").touch()
        (tmp_path / "good").write_text("x")
        paths = [str(tmp_path / name) for name in ("none", "empty", "good")]
        assert find_bundle(paths) == paths[-1]

    def test_no_bundle(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A machine may have none."""
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
        assert find_bundle([str(tmp_path / "other")]) == ""

    def test_daemon(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Those of `https.ca_file`, or those of the system."""
        assert daemon_ca_problem(authority().write(tmp_path)) == ""
        bad = tmp_path / "bad.pem"
        bad.touch()
        assert daemon_ca_problem(bad).startswith(f"{bad}: it contains no certificate")
        missing = tmp_path / "none"
        assert daemon_ca_problem(missing) == f"{missing}: No such file or directory"
        for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
            monkeypatch.setenv(name, str(missing))
        assert daemon_ca_problem(None) == f"no CA certificates in {missing} and {missing}"


def test_mtime(tmp_path: Path) -> None:
    """When a file was last written, in epoch seconds."""
    path = tmp_path / "a"
    path.touch()
    assert collect_system.mtime(path) == path.stat().st_mtime
