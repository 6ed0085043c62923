"""The program that asks as smtp(8) does, run in this process, which keeps its user and its root."""

import ctypes
import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.postfix.installed import inside
from postfix_mta_sts.postfix.installed.inside import DATAGRAM, Task, is_whole, main, run

PATIENCE = 30.0  # seconds; no test waits for their end
SOON = 0.05


def task(folder: Path, **changes: Any) -> Task:  # noqa: ANN401 (the values of a task)
    """A task for this user, in a folder: a request to the socket `sock` there."""
    given: dict[str, Any] = {
        "wire": "socketmap",
        "path": "sock",
        "host": "",
        "port": 0,
        "request": "3:m k,",
        "queue_directory": str(folder),
        "uid": None,
        "gid": 0,
        "chrooted": False,
        "seconds": PATIENCE,
    }
    return cast("Task", given | changes)


@contextmanager
def server(
    family: socket.AddressFamily, place: str | tuple[str, int], reply: bytes
) -> Iterator[tuple[socket.socket, list[bytes]]]:
    """A server for one client, which closes the connection after its reply."""
    requests: list[bytes] = []

    def serve() -> None:
        client, _ = listener.accept()
        with client:
            requests.append(client.recv(4096))
            client.sendall(reply)

    with socket.socket(family) as listener:
        listener.bind(place)
        listener.listen()
        thread = Thread(target=serve)
        thread.start()
        yield listener, requests
        thread.join()


@pytest.fixture(autouse=True)
def _back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The working directory is set back afterwards; no path of a test is too long for a socket."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("reply", [b"5:OK may,", b"9:NOTFOUND ,", b"garbage", b""])
def test_a_reply(tmp_path: Path, reply: bytes) -> None:
    """What the server sends is handed on as it is. A path begins at the queue directory."""
    with server(socket.AF_UNIX, str(tmp_path / "sock"), reply) as (_, requests):
        assert run(task(tmp_path)) == {"data": reply.decode()}
    assert requests == [b"3:m k,"]


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    """Any bytes can be sent, and handed on."""
    every = bytes(range(256))
    with server(socket.AF_UNIX, str(tmp_path / "sock"), every) as (_, requests):
        outcome = run(task(tmp_path, request=every.decode("latin-1")))
    assert outcome["data"].encode("latin-1") == every
    assert requests == [every]


def test_no_more_than_a_line(tmp_path: Path) -> None:
    """A reply of tcp_table ends with its line, whether or not the connection stays open."""
    reply = b"500 no\n"
    with server(socket.AF_UNIX, str(tmp_path / "sock"), reply):
        assert run(task(tmp_path, wire="tcp_table")) == {"data": reply.decode()}


def test_too_much(tmp_path: Path) -> None:
    """A server that sends without end is not listened to for long."""
    reply = b"x" * 3_000_000
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "sock"))
        listener.listen()

        def flood() -> None:
            client, _ = listener.accept()
            with client, pytest.raises(ConnectionError):
                client.sendall(reply)

        thread = Thread(target=flood)
        thread.start()
        outcome = run(task(tmp_path, wire="tcp_table"))
        thread.join()
    assert 100_000 < len(outcome["data"]) < 200_000


def test_a_host_name(tmp_path: Path) -> None:
    """Each address of a host is tried until one accepts."""
    with server(socket.AF_INET, ("127.0.0.1", 0), b"9:NOTFOUND ,") as (listener, _):
        port = listener.getsockname()[1]
        # `localhost` is ::1 as well on most machines.
        outcome = run(task(tmp_path, path="", host="localhost", port=port))
    assert outcome == {"data": "9:NOTFOUND ,"}


def test_the_second_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That one address refuses is no error while another accepts; if all do, it is the last."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        refusing = closed.getsockname()
        with server(socket.AF_INET, ("127.0.0.1", 0), b"9:NOTFOUND ,") as (listener, _):
            places = [refusing, listener.getsockname()]

            def find(host: bytes, port: int, **_: object) -> list[Any]:
                assert host == b"relay.test"
                return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", each) for each in places]

            monkeypatch.setattr(socket, "getaddrinfo", find)
            wanted = task(tmp_path, path="", host="relay.test", port=1)
            assert run(wanted) == {"data": "9:NOTFOUND ,"}
            places = [refusing, refusing]
            assert run(wanted) == {"error": ("ECONNREFUSED", "Connection refused")}


def test_no_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name without an address has an error of its own, with the reason of the resolver."""

    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    outcome = run(task(tmp_path, path="", host="relay.test", port=1))
    assert outcome == {"error": ("unresolvable", "Name or service not known")}


def test_no_socket(tmp_path: Path) -> None:
    """A socket file that is missing, that nobody listens on, or that cannot be one."""
    assert run(task(tmp_path))["error"][0] == "ENOENT"
    (tmp_path / "sock").touch()
    assert run(task(tmp_path))["error"] == ("ECONNREFUSED", os.strerror(errno.ECONNREFUSED))
    assert run(task(tmp_path, path="x" * 300))["error"][0] == "ENAMETOOLONG"


def test_late(tmp_path: Path) -> None:
    """A server that accepts, and sends nothing, is waited for until the limit."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "sock"))
        listener.listen()
        outcome = run(task(tmp_path, seconds=SOON))
    assert outcome == {"error": ("late", "connected, and no reply came within 0.05 s")}


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (TimeoutError("timed out"), ("late", "no connection within 0.05 s")),
        (TimeoutError(errno.ETIMEDOUT, ""), ("ETIMEDOUT", os.strerror(errno.ETIMEDOUT))),
    ],
)
def test_no_connection_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, outcome: tuple[str, str]
) -> None:
    """A server that does not accept in time; that the system gives up is another reason."""
    monkeypatch.setattr(socket, "socket", lambda *_: Socket(error))
    assert run(task(tmp_path, host="127.0.0.1", path="", seconds=SOON)) == {"error": outcome}


class Socket:
    """A socket that cannot connect."""

    def __init__(self, error: OSError) -> None:
        self._error = error

    def connect(self, _: object) -> None:
        """Fail."""
        raise self._error

    def settimeout(self, seconds: float) -> None:
        """Take any time."""

    def close(self) -> None:
        """Do nothing."""


def test_a_datagram_socket(tmp_path: Path) -> None:
    """Nothing is sent to it; a stream socket is another kind."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "sock"))
        assert run(task(tmp_path, wire=DATAGRAM)) == {"data": ""}
        sock.settimeout(0)
        with pytest.raises(BlockingIOError):
            sock.recv(1)
    assert run(task(tmp_path, wire=DATAGRAM))["error"][0] == "ECONNREFUSED"
    with socket.socket(socket.AF_UNIX) as stream:
        stream.bind(str(tmp_path / "stream"))
        stream.listen()
        assert run(task(tmp_path, wire=DATAGRAM, path="stream"))["error"][0] == "EPROTOTYPE"


def test_no_queue_directory(tmp_path: Path) -> None:
    """A folder that cannot be entered is no fault of the server."""
    outcome = run(task(tmp_path / "none"))
    assert outcome == {"unasked": f"as this user in {tmp_path}/none: No such file or directory"}


@pytest.mark.parametrize("chrooted", [True, False])
def test_the_order_of_privileges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, chrooted: bool
) -> None:
    """The chroot comes first, and the user last, since it may do none of the others."""
    calls: list[tuple[object, ...]] = []

    def note(name: str) -> None:
        monkeypatch.setattr(os, name, lambda value: calls.append((name, value)))

    for name in ("chdir", "chroot", "setgroups", "setgid", "setuid"):
        note(name)

    class Library:
        """The C library, which notes what it is told."""

        def prctl(self, option: int, *_: object) -> None:
            """Set an attribute of this process."""
            calls.append(("prctl", option))

    monkeypatch.setattr(ctypes, "CDLL", lambda _: Library())
    inside.become(task(tmp_path, uid=12345, gid=54321, chrooted=chrooted))
    entering: list[tuple[object, ...]] = [("chroot", "."), ("chdir", "/")]
    assert calls == [
        ("chdir", str(tmp_path)),
        *(entering if chrooted else []),
        ("setgroups", []),
        ("setgid", 54321),
        ("setuid", 12345),
        ("prctl", 38),
    ]


def test_no_privilege(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that may not become the user asks nothing."""

    def refuse(_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "setgroups", refuse)
    outcome = run(task(tmp_path, uid=12345))
    assert outcome == {"unasked": f"as user 12345 in {tmp_path}: Operation not permitted"}


def test_one_line_of_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The task is JSON, and so is what is printed."""
    main(json.dumps(task(tmp_path)))
    printed = capsys.readouterr().out
    assert json.loads(printed) == {"error": ["ENOENT", "No such file or directory"]}
    assert printed.endswith("}\n")


IMPORTED = """
import json, sys
from postfix_mta_sts.postfix.installed import inside
before = set(sys.modules)
for each in json.loads(sys.argv[1]):
    inside.main(json.dumps(each))
print(sorted(set(sys.modules) - before))
"""


def test_nothing_is_imported_later(tmp_path: Path) -> None:
    """Once in the chroot no module is imported: there is none."""
    tasks = [
        task(tmp_path),
        task(tmp_path, wire=DATAGRAM),
        task(tmp_path, path="", host="localhost", port=1),
        task(tmp_path, path="", host="..", port=1),
    ]
    words = [sys.executable, "-c", IMPORTED, json.dumps(tasks)]
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    output = subprocess.run(words, capture_output=True, text=True, check=True, env=path)
    *outcomes, modules = output.stdout.splitlines()
    assert len(outcomes) == len(tasks)
    assert modules == "[]"


@given(st.binary(max_size=200))
def test_a_frame_is_whole_at_its_end(data: bytes) -> None:
    """A netstring is whole with its last byte, and not before."""
    frame = b"%d:%b," % (len(data), data)
    assert [is_whole("socketmap", frame[:end]) for end in range(len(frame))] == [False] * len(frame)
    assert is_whole("socketmap", frame)


@pytest.mark.parametrize(
    "data", [b"HTTP/1.1", b"12345678", b"1x:", b"x", b"220 mail.test ESMTP\r\n"]
)
def test_no_frame(data: bytes) -> None:
    """What cannot become a netstring is not waited for."""
    assert is_whole("socketmap", data)
