"""The socket for TLS reports, and whether smtp(8) can reach it."""

import socket
from pathlib import Path

import pytest

from postfix_mta_sts.permissions import Account
from postfix_mta_sts.postfix.installed import asking, tlsrpt
from postfix_mta_sts.postfix.installed.asking import View
from postfix_mta_sts.postfix.installed.outcome import NotAskedError
from postfix_mta_sts.postfix.installed.tlsrpt import reach_tlsrpt
from postfix_mta_sts.postfix.installed.values import Reach, Standpoint
from tests.support.instances import instance, service

POSTFIX = Account(12345, 54321)
SELF = Standpoint.SELF


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no error."""
    monkeypatch.setattr(asking, "TIMEOUT", 60.0)


async def reach(queue: Path, name: str, *, chrooted: bool = False, on: str = "yes") -> Reach | None:
    """What comes of it as this user."""
    where = instance(
        queue,
        service(chrooted=chrooted),
        smtp_tlsrpt_enable=on,
        smtp_tlsrpt_socket_name=name,
    )
    return await reach_tlsrpt(where, None)


async def test_off(tmp_path: Path) -> None:
    """Nothing is tried if reports are off, also in a Postfix that has none, or without a name."""
    assert await reach(tmp_path, "run/tlsrpt", on="no") is None
    assert await reach(tmp_path, "") is None
    assert await reach_tlsrpt(instance(tmp_path, service()), None) is None


async def test_a_collector(tmp_path: Path) -> None:
    """A collector takes a connection, by a path from the queue directory or an absolute one."""
    path = tmp_path / "tlsrpt"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        assert await reach(tmp_path, "tlsrpt") == Reach(SELF)
        assert await reach(tmp_path, str(path)) == Reach(SELF)
        in_chroot = await reach(tmp_path, str(path), chrooted=True)
    assert in_chroot
    assert in_chroot.error == "ENOENT"


@pytest.mark.parametrize(("chrooted", "place"), [(True, "chroot"), (False, "postfix")])
async def test_as_postfix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, chrooted: bool, place: str
) -> None:
    """It is tried from where smtp(8) does; that Postfix may not connect is an error."""

    async def connect(path: Path, view: View) -> Reach:
        assert (path, view.account) == (tmp_path / "run/tlsrpt", POSTFIX)
        return Reach(view.standpoint, "EACCES")

    monkeypatch.setattr(tlsrpt, "connect_inside", connect)
    where = instance(
        tmp_path,
        service(chrooted=chrooted),
        smtp_tlsrpt_enable="yes",
        smtp_tlsrpt_socket_name="run/tlsrpt",
    )
    assert await reach_tlsrpt(where, POSTFIX) == Reach(Standpoint(place), "EACCES")


@pytest.mark.parametrize("error", [NotAskedError("no room"), None])
async def test_not_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    """What this user may not try is not known."""

    async def connect(_: Path, view: View) -> Reach:
        if error:
            raise error
        return Reach(view.standpoint, "EACCES")

    monkeypatch.setattr(tlsrpt, "connect_inside", connect)
    assert await reach(tmp_path, "tlsrpt") is None
