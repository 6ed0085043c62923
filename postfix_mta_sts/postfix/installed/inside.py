"""The program that asks a server as smtp(8) does: as its user, and from inside its chroot.

`asking` starts it with a `Task`. It prints one line of JSON, the `Outcome`, and writes no file. All
that it needs is imported before chroot(2): there is no Python inside. Host names are looked up
afterwards, by the files that the chroot has.
"""

import contextlib
import ctypes
import errno
import json
import os
import pwd
import socket
import sys
import time
from typing import Final, NotRequired, TypedDict

DATAGRAM: Final = "datagram"
"""A wire: connect to a UNIX socket, and send nothing."""
UNRESOLVABLE: Final = "unresolvable"
LATE: Final = "late"

_SOCKETMAP: Final = "socketmap"
_REPLY_LIMIT: Final = 100_010  # bytes: the longest reply of socketmap_table(5), and its frame
_DIGITS_LIMIT: Final = 6
_CHUNK: Final = 64 * 1024
_NO_NEW_PRIVS: Final = 38  # PR_SET_NO_NEW_PRIVS of linux/prctl.h


class Task(TypedDict):
    """What to ask, as whom, and from where."""

    wire: str
    """socketmap, tcp_table or `DATAGRAM`."""
    path: str
    """Of a UNIX socket, from the queue directory or absolute; empty: TCP."""
    host: str
    port: int
    request: str
    """The bytes to send, as Latin-1."""
    queue_directory: str
    uid: int | None
    """None: this process stays what it is, and outside of the chroot."""
    gid: int
    chrooted: bool
    seconds: float
    """For the connection and the reply; a look-up of the host is left to the time of `asking`."""


class Outcome(TypedDict):
    """What came of it: one of the three."""

    unasked: NotRequired[str]
    """Why the server was not asked."""
    error: NotRequired[tuple[str, str]]
    """The symbol of the failure, and its reason."""
    data: NotRequired[str]
    """The bytes of the reply, as Latin-1; they may be no reply."""


class Deadline:
    """The time that is left of `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def limit(self, sock: socket.socket) -> None:
        """Let the next operation on a socket end in time; then it raises `TimeoutError`."""
        sock.settimeout(max(0.001, self._end - time.monotonic()))  # 0 would mean: do not wait

    def __str__(self) -> str:
        return f"within {self._seconds:g} s"


def main(argument: str) -> None:
    """Print what comes of the task, which is JSON."""
    sys.stdout.write(f"{json.dumps(run(json.loads(argument)))}\n")


def run(task: Task) -> Outcome:
    """Become the user, then ask."""
    try:
        become(task)
    except OSError as error:
        user = "this user" if task["uid"] is None else f"user {task['uid']}"
        return {"unasked": f"as {user} in {task['queue_directory']}: {error.strerror}"}
    try:
        return {"data": ask(task).decode("latin-1")}
    except socket.gaierror as error:
        return {"error": (UNRESOLVABLE, error.strerror or str(error))}
    except OSError as error:
        return {"error": _symbol_and_reason(error)}


def become(task: Task) -> None:
    """Go to the queue directory, and become its user there, in the chroot if it says so."""
    os.chdir(task["queue_directory"])
    uid = task["uid"]
    if uid is None:
        return
    # smtp(8) looks a user up before it enters the chroot, too. From then on the C library keeps to
    # the nsswitch.conf that it has read.
    with contextlib.suppress(KeyError):
        pwd.getpwuid(uid)
    library = ctypes.CDLL(None)
    if task["chrooted"]:
        os.chroot(".")
        os.chdir("/")
    os.setgroups([])
    os.setgid(task["gid"])
    os.setuid(uid)
    with contextlib.suppress(AttributeError):  # Linux only
        library.prctl(_NO_NEW_PRIVS, *map(ctypes.c_ulong, (1, 0, 0, 0)))


def ask(task: Task) -> bytes:
    """What the server sends until its reply is whole, or until it closes the connection."""
    deadline = Deadline(task["seconds"])
    with connect(task, deadline) as sock:
        if task["wire"] == DATAGRAM:
            return b""
        try:
            return _converse(sock, task, deadline)
        except TimeoutError as error:
            if error.errno is None:
                raise TimeoutError(f"connected, and no reply came {deadline}") from None
            raise


def connect(task: Task, deadline: Deadline) -> socket.socket:
    """A connection, to the first address of the host that accepts one."""
    if task["path"]:
        kind = socket.SOCK_DGRAM if task["wire"] == DATAGRAM else socket.SOCK_STREAM
        return _open(socket.AF_UNIX, kind, task["path"], deadline)
    # As bytes: a text would make Python import a codec, which the chroot does not have.
    host = os.fsencode(task["host"])
    found = socket.getaddrinfo(host, task["port"], type=socket.SOCK_STREAM)
    failures: list[OSError] = []
    for family, kind, _, _, place in found:
        try:
            return _open(family, kind, place, deadline)
        except OSError as error:
            failures.append(error)
    raise failures[-1]


def is_whole(wire: str, data: bytes) -> bool:
    """Whether a reply has arrived, or something that cannot become one."""
    if wire != _SOCKETMAP:
        return b"\n" in data
    digits, colon, rest = data.partition(b":")
    if len(digits) > _DIGITS_LIMIT or (digits and not digits.isdigit()):
        return True
    return bool(colon) and (not digits or len(rest) > int(digits))


def _open(
    family: int, kind: int, place: str | tuple[object, ...], deadline: Deadline
) -> socket.socket:
    sock = socket.socket(family, kind)
    try:
        deadline.limit(sock)
        sock.connect(place)
    except OSError as error:
        sock.close()
        if isinstance(error, TimeoutError) and error.errno is None:
            raise TimeoutError(f"no connection {deadline}") from None
        raise
    return sock


def _converse(sock: socket.socket, task: Task, deadline: Deadline) -> bytes:
    """Send the request, and read the reply."""
    deadline.limit(sock)
    sock.sendall(task["request"].encode("latin-1"))
    data = b""
    while not is_whole(task["wire"], data) and len(data) < _REPLY_LIMIT:
        deadline.limit(sock)
        if not (chunk := sock.recv(_CHUNK)):
            break
        data += chunk
    return data


def _symbol_and_reason(error: OSError) -> tuple[str, str]:
    """Such as ECONNREFUSED, and the words of the system; Python's own errors have no number."""
    if isinstance(error, TimeoutError) and error.errno is None:
        return LATE, str(error)
    number = error.errno or errno.ENAMETOOLONG  # the path of a socket
    return errno.errorcode.get(number, str(number)), os.strerror(number)
