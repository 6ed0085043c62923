"""Permissions of UNIX listeners: defaults, and what keeps Postfix from connecting."""

import os
import pwd
import stat
from pathlib import Path

import pytest

from postfix_mta_sts.config.address import TcpAddress, UnixAddress
from postfix_mta_sts.config.settings import ListenerSettings
from postfix_mta_sts.permissions import Account
from postfix_mta_sts.postfix.access import (
    UNIT_LINES,
    access_of,
    access_warnings,
    find_closed,
    give_to_postfix,
    postfix_account,
)
from postfix_mta_sts.postfix.client import POSTFIX_USER
from tests.support.sockets import other_process

STRANGER = Account(4711, 4712)
"""A user that owns nothing here."""


@pytest.fixture
def path() -> Path:
    """The path of a UNIX socket, in a folder that every user may enter."""
    return Path(f"/tmp/postfix-mta-sts-test-{os.getpid()}.sock")  # noqa: S108 (the folder is in question)


def listener(path: Path, **access: int | str) -> ListenerSettings:
    """A listener at this path."""
    return ListenerSettings(socketmap=UnixAddress(path), **access)  # type: ignore[arg-type] # mode, owner, group


@pytest.fixture
def made(path: Path) -> Path:
    """A socket with the default mode of a listener."""
    with other_process(path):
        path.chmod(0o660)
    return path


@pytest.fixture(autouse=True)
def _removed(path: Path) -> None:
    path.unlink(missing_ok=True)


def test_the_user_of_postfix() -> None:
    """The user is found by its name; a machine without Postfix has none."""
    entry = pwd.struct_passwd((POSTFIX_USER, "x", 89, 90, "", "/var/spool/postfix", "/bin/false"))
    assert postfix_account({POSTFIX_USER: entry}.__getitem__) == Account(89, 90)
    assert postfix_account(dict[str, pwd.struct_passwd]().__getitem__) is None


def test_default_mode(path: Path) -> None:
    """A listener without `mode` admits owner and group; a given one stays."""
    assert access_of(listener(path)).mode == 0o660
    assert access_of(listener(path, mode=0o600, group="x")) == access_of(
        listener(path, mode=0o600, group="x")
    )
    assert access_of(listener(path, mode=0o600)).mode == 0o600


def test_no_permission(made: Path) -> None:
    """With the default permissions the advice is what the unit needs."""
    found = find_closed(listener(made), STRANGER)
    assert found
    assert found.reason.startswith(f"{made} has mode 0660, owner {os.geteuid()} and group ")
    assert found.reason.endswith("Postfix is user 4711, group 4712")
    assert found.advice == f"add to the [Service] section of the unit: {UNIT_LINES}"


def test_no_permission_as_configured(made: Path) -> None:
    """With configured permissions the advice is what the configuration needs."""
    found = find_closed(listener(made, mode=0o660), STRANGER)
    assert found
    assert found.advice == 'set mode: "0660" and group: postfix for the listener'


def test_a_folder(tmp_path: Path) -> None:
    """A folder on the way that Postfix may not enter is named."""
    folder = tmp_path / "f"
    folder.mkdir(mode=0o700)
    with other_process(folder / "s"):
        (folder / "s").chmod(0o666)
    found = find_closed(listener(folder / "s"), STRANGER)
    assert found
    closed = next(each for each in (*reversed(folder.parents), folder) if not _open(each))
    assert found.reason.startswith(f"{closed} has mode 0700")
    assert found.advice.startswith(f"chmod o+x {closed}")


def _open(folder: Path) -> bool:
    return bool(folder.stat().st_mode & stat.S_IXOTH)


@pytest.mark.parametrize("mode", [0o606, 0o622])
def test_permission_for_all(made: Path, mode: int) -> None:
    """A socket that every user may write to is open."""
    made.chmod(mode)
    assert find_closed(listener(made, mode=mode), STRANGER) is None


def test_owner_and_group(made: Path) -> None:
    """The owner and the group of the socket may connect, as may root."""
    status = made.stat()
    for account in (Account(status.st_uid, 1), Account(4711, status.st_gid), Account(0, 0)):
        assert find_closed(listener(made), account) is None


def test_the_bits_of_the_owner_count_first(made: Path) -> None:
    """An owner without write permission may not connect, even if all others may."""
    made.chmod(0o066)
    status = made.stat()
    account = Account(status.st_uid or 4711, status.st_gid)
    if status.st_uid == 0:
        os.chown(made, 4711, -1)
    assert find_closed(listener(made, mode=0o066), account)


def test_no_postfix_on_this_machine(made: Path) -> None:
    """Nobody but the daemon may use the default; configured permissions are believed."""
    found = find_closed(listener(made), None)
    assert found
    assert "no user postfix" in found.reason
    assert find_closed(listener(made, mode=0o660), None) is None


def test_tcp_and_what_cannot_be_examined(path: Path) -> None:
    """TCP has no permissions, and what is not known is not reported."""
    assert find_closed(ListenerSettings(socketmap=TcpAddress("127.0.0.1", 1)), STRANGER) is None
    assert find_closed(listener(path), STRANGER) is None


def test_given_to_postfix(made: Path) -> None:
    """The socket gets the group of Postfix if this process is in it, or is root."""
    gid = 4712 if os.geteuid() == 0 else os.getegid()
    give_to_postfix(listener(made), Account(4711, gid))
    assert made.stat().st_gid == gid
    assert find_closed(listener(made), Account(4711, gid)) is None


def test_not_given(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Configured permissions stay, and chown(2) is not called if it cannot work."""
    before = made.stat().st_gid
    give_to_postfix(listener(made, mode=0o660), STRANGER)
    give_to_postfix(listener(made), None)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    monkeypatch.setattr(os, "chown", lambda *_: pytest.fail("called"))
    give_to_postfix(listener(made), STRANGER)
    assert made.stat().st_gid == before


def test_warnings_of_commands(made: Path) -> None:
    """A command prints one line for each socket that is there and closed."""
    listeners = [
        listener(made),
        listener(made.with_name("no-such-socket")),
        ListenerSettings(socketmap=TcpAddress("127.0.0.1", 1)),
    ]
    [line] = access_warnings(listeners, STRANGER)
    assert line.startswith(f"Postfix may not connect to unix:{made}: ")
    assert line.endswith(UNIT_LINES)
