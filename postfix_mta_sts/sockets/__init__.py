"""Open listening sockets at the addresses of the configuration, and change them as a whole.

`Sockets` opens single sockets: an inherited one (systemd socket activation) is used before a new
one is made. `SocketSet` holds the sockets of one purpose; a reload carries out one `Plan`: which
addresses to open, which to keep, where to change permissions and which to close.

This module does not serve clients: `postfix.server` and `admin.http_server` do.
"""

import logging
import os
import socket
import stat
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from postfix_mta_sts import occupants
from postfix_mta_sts.config.address import TcpAddress, UnixAddress
from postfix_mta_sts.errors import UserError
from postfix_mta_sts.logs import event
from postfix_mta_sts.permissions import (
    Access,
    current_umask,
    restore_permissions,
    set_permissions,
)

Address: TypeAlias = TcpAddress | UnixAddress
_K = TypeVar("_K", bound=Hashable)

_log = logging.getLogger(__name__)


class ListenError(UserError):
    """The daemon cannot listen on an address. `str()` names the address and the reason."""


class Binding(NamedTuple):
    """An address, and the permissions there."""

    address: Address
    access: Access

    @property
    def permissions(self) -> tuple[object, ...]:
        """The part of `access` that matters at this address; TCP has no permissions."""
        if isinstance(self.address, TcpAddress):
            return ()
        return (self.access.mode, self.access.owner, self.access.group)


Bindings: TypeAlias = Mapping[_K, Binding]
"""Bindings by key. The same key always stands for the same address."""


class Sockets:
    """Opens the sockets of one process; `close` removes the socket files that it made.

    `inherited`: sockets from systemd, each used for the listener that has its address.
    """

    def __init__(self, inherited: list[socket.socket]) -> None:
        self._inherited = inherited
        self._claimed: list[socket.socket] = []  # inherited ones in use; systemd holds them open
        self._made: list[tuple[Path, int]] = []  # path and inode

    def open(self, binding: Binding) -> socket.socket:
        """Return a socket that is bound but does not listen yet. Raises `ListenError`."""
        address, access = binding
        try:
            if inherited := self._claim_inherited(address):
                return inherited.dup()
            if isinstance(address, UnixAddress):
                return self._open_unix(access, address.path)
            return _open_tcp(address)
        except (OSError, LookupError) as error:
            raise ListenError(
                f"cannot listen on {address}: {occupants.describe(error, address)}"
            ) from error

    def open_control(self, path: Path, access: Access) -> socket.socket | None:
        """Return the control socket; create its directory, with mode 0700, if it is missing.

        On failure log a warning and return None: mail does not depend on this socket.
        """
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return self.open(Binding(UnixAddress(path), access))
        except (OSError, ListenError) as error:
            reason = str(error)
            if isinstance(error, OSError):  # of `mkdir`
                reason = f"cannot make the folder {error.filename}: {error.strerror}"
            event(_log, logging.WARNING, "control socket unavailable", path=path, reason=reason)
            return None

    def has_made(self, address: Address) -> bool:
        """Whether the socket file at an address was made here, and not by systemd."""
        return any(UnixAddress(path) == address for path, _ in self._made)

    def permit(self, binding: Binding, undo: ExitStack) -> None:
        """Change the permissions of an open UNIX socket; `undo` restores the old ones.

        Raises `ListenError`.
        """
        if not isinstance(binding.address, UnixAddress):
            return
        path = binding.address.path
        try:
            undo.callback(restore_permissions, path, path.stat())
            set_permissions(path, binding.access, current_umask())
        except (OSError, LookupError) as error:
            raise ListenError(f"cannot change {binding.address}: {error}") from error

    def release(self, address: Address) -> None:
        """Remove the socket file that was made for an address; make an inherited socket free.

        Call this while the socket is open: a closed socket's inode may be reused.
        """
        for sock in [sock for sock in self._claimed if _is_bound_to(sock, address)]:
            self._claimed.remove(sock)
            self._inherited.append(sock)
        for made in [made for made in self._made if UnixAddress(made[0]) == address]:
            self._made.remove(made)
            _remove_own(*made)

    def close_unclaimed(self) -> list[str]:
        """Close the inherited sockets that no listener uses, and return their addresses."""
        names = [_name(sock) for sock in self._inherited]
        for sock in self._inherited:
            sock.close()
        self._inherited.clear()
        return names

    def close(self) -> None:
        """Remove the remaining socket files, unless another process has replaced them."""
        for made in self._made:
            _remove_own(*made)
        for sock in [*self._claimed, *self._inherited]:
            sock.close()

    def _claim_inherited(self, address: Address) -> socket.socket | None:
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
            previous = os.umask(0o177)  # no client can connect before owner and mode are set
            try:
                sock.bind(str(path))
            finally:
                os.umask(previous)
            self._made.append((path, path.stat().st_ino))
            set_permissions(path, access, previous)
        return sock


@dataclass(frozen=True, slots=True)
class Plan(Generic[_K]):
    """What a change does with each socket."""

    open: Bindings[_K]
    keep: Bindings[_K]
    permit: Bindings[_K]
    """Sockets that stay open with other permissions."""
    close: Bindings[_K]


def make_plan(current: Bindings[_K], wanted: Bindings[_K]) -> Plan[_K]:
    """Compare the open sockets with the wanted ones."""
    both = {key: binding for key, binding in wanted.items() if key in current}
    permit = {
        key: binding
        for key, binding in both.items()
        if binding.permissions != current[key].permissions
    }
    return Plan(
        open={key: binding for key, binding in wanted.items() if key not in current},
        keep={key: binding for key, binding in both.items() if key not in permit},
        permit=permit,
        close={key: binding for key, binding in current.items() if key not in wanted},
    )


@dataclass(frozen=True, slots=True)
class PreparedChange(Generic[_K]):
    """A plan whose new sockets are open; `SocketSet.commit` completes it."""

    plan: Plan[_K]
    opened: Mapping[_K, socket.socket]


class SocketSet(Generic[_K]):
    """The open sockets of one purpose by key; a socket that stays is never replaced."""

    def __init__(self, sockets: Sockets) -> None:
        self._sockets = sockets
        self._open: dict[_K, tuple[Binding, socket.socket]] = {}

    def get(self, key: _K) -> socket.socket | None:
        """Return the socket, if it is open."""
        binding_and_socket = self._open.get(key)
        return binding_and_socket and binding_and_socket[1]

    @contextmanager
    def prepare(
        self,
        wanted: Bindings[_K],
        open_socket: Callable[[Binding], socket.socket | None] | None = None,
    ) -> Iterator[PreparedChange[_K]]:
        """Open the new sockets and change permissions; on an error undo both.

        `open_socket` replaces `Sockets.open` and may return None for a socket that the daemon can
        do without. Raises `ListenError`.
        """
        open_socket = open_socket or self._sockets.open
        plan = make_plan({key: binding for key, (binding, _) in self._open.items()}, wanted)
        opened: dict[_K, socket.socket] = {}
        with ExitStack() as undo:
            for key, binding in plan.open.items():
                if sock := open_socket(binding):
                    opened[key] = sock
                    undo.callback(self._close, binding, sock)
            for binding in plan.permit.values():
                self._sockets.permit(binding, undo)
            yield PreparedChange(plan, opened)
            undo.pop_all()

    def commit(self, change: PreparedChange[_K]) -> None:
        """Close the sockets that are no longer wanted, and take over the new ones."""
        for key in change.plan.close:
            self._close(*self._open.pop(key))
        for key, binding in change.plan.permit.items():
            self._open[key] = (binding, self._open[key][1])
        for key, sock in change.opened.items():
            self._open[key] = (change.plan.open[key], sock)

    def close(self) -> None:
        """Close all sockets and remove the files that were made for them."""
        for binding, sock in self._open.values():
            self._close(binding, sock)
        self._open.clear()

    def _close(self, binding: Binding, sock: socket.socket) -> None:
        self._sockets.release(binding.address)
        sock.close()


def _remove_own(path: Path, inode: int) -> None:
    """Remove a socket file, unless another process has replaced it."""
    with suppress(OSError):
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
    """Remove a socket file that no process listens on. Raises `FileExistsError` for any other."""
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise FileExistsError(f"{path} exists and is not a socket")
    except FileNotFoundError:
        return
    try:
        if not _is_in_use(path):
            path.unlink()
            return
    except PermissionError:
        raise FileExistsError(occupants.not_ours(path)) from None
    raise FileExistsError(f"another process is listening on it{occupants.on_path(path)}")


def _is_in_use(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0)  # a socket with a full backlog is in use, too
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
        except BlockingIOError:
            pass
        return True


def _is_bound_to(sock: socket.socket, address: Address) -> bool:
    name = sock.getsockname()
    if isinstance(address, UnixAddress):
        return sock.family == socket.AF_UNIX and name == str(address.path)
    if sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return False
    candidates = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    return any(sockaddr[:2] == name[:2] for *_, sockaddr in candidates)


def _name(sock: socket.socket) -> str:
    """Return the address of a socket in the notation of the configuration."""
    name = sock.getsockname()
    if sock.family in {socket.AF_INET, socket.AF_INET6}:
        return str(TcpAddress(*name[:2]))
    return f"unix:{name}" if sock.family == socket.AF_UNIX else str(name)


@contextmanager
def _closed_on_error(sock: socket.socket) -> Iterator[None]:
    try:
        yield
    except BaseException:
        sock.close()
        raise
