"""An address of the configuration → a listening socket.

Border: only sockets; who serves them is `server`'s. A socket that was handed to this process
(systemd, or a parent that outlives a restart) is taken before one is made.
"""

import contextlib
import grp
import logging
import os
import pwd
import socket
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from postfix_mta_sts.config.address import TcpAddress, UnixAddress
from postfix_mta_sts.config.settings import ListenerSettings
from postfix_mta_sts.errors import UserError
from postfix_mta_sts.logs import event

_log = logging.getLogger(__name__)


class ListenError(UserError):
    """An address cannot be listened on. `str()` says which, and why."""


class Access(Protocol):
    """Who may connect to a UNIX socket; an account that is None is that of the process."""

    @property
    def mode(self) -> int | None:
        """Its permissions; None: what the umask leaves."""

    @property
    def owner(self) -> str | int | None:
        """A name or an id, as is the group."""

    @property
    def group(self) -> str | int | None:
        """See `owner`."""


class Sockets:
    """The listening sockets of one process; `close` removes the socket files that it made.

    `inherited`: sockets handed over, each used for the listener that has its address.
    """

    def __init__(self, inherited: list[socket.socket]) -> None:
        self._inherited = inherited
        self._claimed: list[socket.socket] = []  # of those: systemd has them open all the while
        self._made: list[tuple[Path, int]] = []

    def open_all(self, listeners: Iterable[ListenerSettings]) -> list[socket.socket]:
        """A socket for each listener, as `open` gives them, or none for any.

        An inherited socket that fits no listener is closed, with a warning.
        """
        opened: list[socket.socket] = []
        try:
            for listener in listeners:
                opened.append(self.open(listener))
                wire, address = listener.wire, listener.address
                event(_log, logging.INFO, "listening", wire=wire, address=address)
        except ListenError:
            for sock in opened:
                sock.close()
            raise
        for name in self.unclaimed():
            event(_log, logging.WARNING, "inherited socket fits no listener", address=name)
        return opened

    def open(self, listener: ListenerSettings) -> socket.socket:
        """The socket for a listener, as `open_at` gives it."""
        return self.open_at(listener.address, listener)

    def open_at(self, address: TcpAddress | UnixAddress, access: Access) -> socket.socket:
        """The socket at an address: bound, not yet listening. Raises `ListenError`."""
        try:
            if inherited := self._inherited_at(address):
                return inherited.dup()
            if isinstance(address, UnixAddress):
                return self._open_unix(access, address.path)
            return _open_tcp(address)
        except (OSError, LookupError) as error:
            raise ListenError(f"cannot listen on {address}: {error}") from error

    def open_control(self, path: Path, access: Access) -> socket.socket | None:
        """The control socket, in a folder that is made if need be, for this user alone.

        Where it cannot be had, that is logged, and None: mail does not depend on it.
        """
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return self.open_at(UnixAddress(path), access)
        except (OSError, ListenError) as error:
            event(_log, logging.WARNING, "no control socket", path=path, reason=str(error))
            return None

    def permit(self, address: TcpAddress | UnixAddress, access: Access) -> None:
        """Let others than before connect to a UNIX socket that is open. Raises `ListenError`."""
        if isinstance(address, UnixAddress):
            try:
                _permit(address.path, access, _umask())
            except (OSError, LookupError) as error:
                raise ListenError(f"cannot change {address}: {error}") from error

    def drop(self, address: TcpAddress | UnixAddress) -> None:
        """Remove the socket file that was made for an address, or let an inherited one be."""
        for sock in [sock for sock in self._claimed if _is_bound_to(sock, address)]:
            self._claimed.remove(sock)
            self._inherited.append(sock)
        for made in [made for made in self._made if UnixAddress(made[0]) == address]:
            self._made.remove(made)
            _remove_own(*made)

    def unclaimed(self) -> list[str]:
        """The addresses of inherited sockets that no listener has claimed; they are closed."""
        names = [_name(sock) for sock in self._inherited]
        for sock in self._inherited:
            sock.close()
        self._inherited.clear()
        return names

    def close(self) -> None:
        """Remove the socket files that are still those made here.

        To be called while their sockets are open: an inode may be another's after that.
        """
        for made in self._made:
            _remove_own(*made)
        for sock in [*self._claimed, *self._inherited]:
            sock.close()

    def _inherited_at(self, address: TcpAddress | UnixAddress) -> socket.socket | None:
        for sock in self._inherited:
            if _is_bound_to(sock, address):
                self._inherited.remove(sock)
                self._claimed.append(sock)
                return sock
        return None

    def _open_unix(self, access: Access, path: Path) -> socket.socket:
        _remove_stale(path)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with _closed_on_error(sock):
            previous = os.umask(0o177)  # nobody gets in before owner and mode are set
            try:
                sock.bind(str(path))
            finally:
                os.umask(previous)
            self._made.append((path, path.stat().st_ino))
            _permit(path, access, previous)
        return sock


def _permit(path: Path, access: Access, umask: int) -> None:
    if access.owner is not None or access.group is not None:  # the unit forbids chown otherwise
        os.chown(path, _user(access.owner), _group(access.group))
    path.chmod(0o777 & ~umask if access.mode is None else access.mode)


def _umask() -> int:
    os.umask(umask := os.umask(0o077))  # it cannot be read without being set
    return umask


def _remove_own(path: Path, inode: int) -> None:
    """Remove a socket file, unless another has taken its place."""
    with contextlib.suppress(OSError):
        if path.stat().st_ino == inode:
            path.unlink()


def _open_tcp(address: TcpAddress) -> socket.socket:
    family, kind, protocol, _, sockaddr = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind, protocol)
    with _closed_on_error(sock):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(sockaddr)
    return sock


def _remove_stale(path: Path) -> None:
    """Remove a socket file that nobody listens on; a living one is left, and refused."""
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise FileExistsError(f"{path} exists and is not a socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0)  # a full backlog is a living one too
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass
    raise FileExistsError("another process is listening on it")


def _is_bound_to(sock: socket.socket, address: TcpAddress | UnixAddress) -> bool:
    name = sock.getsockname()
    if isinstance(address, UnixAddress):
        return sock.family == socket.AF_UNIX and name == str(address.path)
    if sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return False
    candidates = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    return any(sockaddr[:2] == name[:2] for *_, sockaddr in candidates)


def _name(sock: socket.socket) -> str:
    """Where a socket is bound, as the configuration writes it."""
    name = sock.getsockname()
    if sock.family in {socket.AF_INET, socket.AF_INET6}:
        return str(TcpAddress(*name[:2]))
    return f"unix:{name}" if sock.family == socket.AF_UNIX else str(name)


def _user(name: str | int | None) -> int:
    if name is None:
        return -1
    return name if isinstance(name, int) else pwd.getpwnam(name).pw_uid


def _group(name: str | int | None) -> int:
    if name is None:
        return -1
    return name if isinstance(name, int) else grp.getgrnam(name).gr_gid


@contextlib.contextmanager
def _closed_on_error(sock: socket.socket) -> Iterator[None]:
    try:
        yield
    except BaseException:
        sock.close()
        raise
