"""The client of the control socket: answers, and each way in which a request fails."""

import grp
import json
import os
import pwd
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from postfix_mta_sts.admin import client
from postfix_mta_sts.admin.client import ControlClient, ControlError, NoAnswerError

RUNNING = "is the daemon running? If with another file, name that with --config"
OK = b"HTTP/1.1 200 OK\r\n"


@contextmanager
def daemon(path: Path, *pieces: bytes, hold: bool = False) -> Iterator[list[bytes]]:
    """A server that answers one request with these bytes; yields the requests it received."""
    asked: list[bytes] = []
    over = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            data = b""
            while b"\r\n\r\n" not in data:
                data += connection.recv(65536)
            asked.append(data)
            for piece in pieces:
                connection.sendall(piece)
            if hold:
                over.wait()

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        yield asked
        over.set()
        thread.join()


def body(text: bytes, status: bytes = OK) -> bytes:
    """A response with a Content-Length."""
    return status + b"Content-Length: %d\r\n\r\n%b" % (len(text), text)


def chunk(text: bytes) -> bytes:
    """A chunk of a chunked response."""
    return b"%x\r\n%b\r\n" % (len(text), text)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of the control socket."""
    return tmp_path / "control.sock"


class TestAnswers:
    """Answers of the daemon."""

    def test_ask(self, path: Path) -> None:
        """JSON is parsed; each part of the path is quoted, whatever it contains."""
        with daemon(path, body(b'{"a": 1}')) as asked:
            assert ControlClient(path).ask("POST", "policies", "a/b?c é") == {"a": 1}
        assert asked[0].startswith(b"POST /policies/a%2Fb%3Fc%20%C3%A9 HTTP/1.1\r\n")

    def test_text(self, path: Path) -> None:
        """`text` returns the answer as it is."""
        with daemon(path, body(b'{"a" :1}')):
            assert ControlClient(path).text("GET", "a") == b'{"a" :1}'

    @pytest.mark.parametrize("size", [1, 7, 100_000])
    def test_lines(self, path: Path, size: int) -> None:
        """Lines are parsed, wherever the chunks of the answer end."""
        values = [{"domain": f"d{n}.test", "n": n} for n in range(100)]
        text = b"".join(json.dumps(value).encode() + b"\n" for value in values)
        pieces = [chunk(text[at : at + size]) for at in range(0, len(text), size)]
        head = OK + b"Transfer-Encoding: chunked\r\n\r\n"
        with daemon(path, head, *pieces, b"0\r\n\r\n") as asked:
            assert list(ControlClient(path).lines("list", mode="none", expiring="60")) == values
        assert asked[0].startswith(b"GET /list?mode=none&expiring=60 HTTP/1.1\r\n")

    def test_lines_arrive_one_by_one(self, path: Path) -> None:
        """A line is yielded before the answer has ended."""
        head = OK + b"Transfer-Encoding: chunked\r\n\r\n"
        with daemon(path, head, chunk(b"{}\n"), hold=True):
            assert next(ControlClient(path).lines("list")) == {}

    def test_error_among_lines(self, path: Path) -> None:
        """An error in the last line, of a list that is not complete, is raised."""
        with daemon(path, body(b'{"domain": "a.test"}\n{"error": "no disk"}\n')):
            lines = ControlClient(path).lines("list")
            assert next(lines) == {"domain": "a.test"}
            with pytest.raises(ControlError, match="no disk"):
                next(lines)


class TestUnreachable:
    """The daemon cannot be reached; the message is one line for a person."""

    def test_no_socket(self, path: Path) -> None:
        """If there is no socket, the message says so, and names a possible reason."""
        with pytest.raises(ControlError) as error:
            ControlClient(path).ask("GET", "status")
        assert str(error.value) == f"there is no control socket {path}: {RUNNING}"

    def test_stale(self, path: Path) -> None:
        """The message for a socket without a listener differs from that for a missing one."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(path))
        with pytest.raises(ControlError, match="no process listens on"):
            ControlClient(path).ask("GET", "status")

    def test_path_that_is_too_long(self, path: Path) -> None:
        """For a path that is too long for a socket, the message is that of the system."""
        with pytest.raises(ControlError, match="too long"):
            ControlClient(path.with_name("x" * 200)).ask("GET", "status")

    @pytest.mark.parametrize("shut", ["socket", "folder"])
    def test_permission_denied(self, path: Path, shut: str) -> None:
        """The message names the owner and mode of the socket or directory that denies access."""
        place = path if shut == "socket" else path.parent
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(path))
            path.chmod(0o666)
            path.parent.chmod(0o755)
            place.chmod(0o000)
            said = refused(lambda: ControlClient(path).ask("GET", "status"), path)
            place.chmod(0o700)
        user = pwd.getpwuid(os.geteuid()).pw_name
        group = grp.getgrgid(path.parent.stat().st_gid).gr_name
        expected = f"{place} belongs to user {user}, group {group}, mode 0000"
        advice = "run this as root or that user"
        assert said == f"{path}: permission denied; {expected}; {advice}"


class TestBadAnswers:
    """Answers that are refusals, incomplete or malformed."""

    @pytest.mark.parametrize(
        ("sent", "reason"),
        [
            (body(b'{"error": "not so"}', b"HTTP/1.1 400 Bad Request\r\n"), "^not so$"),
            (body(b"", b"HTTP/1.1 404 Not Found\r\n"), "of another version"),
            (body(b"", b"HTTP/1.1 405 Method Not Allowed\r\n"), "of another version"),
            (body(b"", b"HTTP/1.1 500 Internal Server Error\r\n"), "answered 500; its log"),
            (b"hello\r\n\r\n", "broke off"),
            (b"", "broke off"),
            (body(b"<html>"), "broke off"),
            (body(b"<html>", b"HTTP/1.1 400 Bad Request\r\n"), "broke off"),
            (body(b"[]", b"HTTP/1.1 400 Bad Request\r\n"), "broke off"),
            (OK + b"Content-Length: 10\r\n\r\n{}", "broke off"),
            (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", "broke off"),
        ],
    )
    @pytest.mark.parametrize("lines", [False, True])
    def test_refused_or_broken(self, path: Path, sent: bytes, reason: str, *, lines: bool) -> None:
        """A refused or incomplete answer is an error of one line, never a part of an answer."""
        control_client = ControlClient(path)
        with daemon(path, sent), pytest.raises(ControlError, match=reason) as error:
            assert not (
                list(control_client.lines("l")) if lines else control_client.ask("GET", "l")
            )
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize("sent", [b"", OK, OK + b"Content-Length: 10\r\n\r\n{}"])
    def test_timeout(self, path: Path, sent: bytes) -> None:
        """If no more data arrives in time, the request fails."""
        with (
            daemon(path, sent, hold=True),
            pytest.raises(NoAnswerError, match=r"no answer from the daemon for 0.05 s"),
        ):
            ControlClient(path, timeout=0.05).ask("GET", "status")


def refused(work: Callable[[], object], path: Path) -> str:
    """Return the error for a user that file modes apply to, so not root."""
    if os.geteuid() == 0:
        return as_nobody(work, path)
    with pytest.raises(ControlError) as error:
        work()
    return str(error.value)


def as_nobody(work: Callable[[], object], path: Path) -> str:
    """Return the error in a child process of user nobody; the folders above `path` are opened."""
    for folder in path.parent.parents:
        if folder.stat().st_uid == 0 and folder.is_relative_to("/tmp/pytest-of-root"):  # noqa: S108
            folder.chmod(0o755)
    told, tell = os.pipe()
    if not os.fork():
        nobody = pwd.getpwnam("nobody")
        os.setgroups([])
        os.setgid(nobody.pw_gid)
        os.setuid(nobody.pw_uid)
        try:
            work()
        except ControlError as error:
            os.write(tell, str(error).encode())
        finally:
            os._exit(0)
    os.close(tell)
    with open(told, "rb") as said:  # noqa: PTH123 (a descriptor)
        text = said.read().decode()
    os.wait()
    return text


def test_a_deep_answer(tmp_path: Path) -> None:
    """JSON that is nested without an end is no answer."""
    with (
        daemon(tmp_path / "s", body(b"[" * 100_000)),
        pytest.raises(NoAnswerError, match="broke off"),
    ):
        ControlClient(tmp_path / "s").ask("GET", "status")


def test_an_endless_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that is larger than any status is not read to its end."""
    monkeypatch.setattr(client, "ANSWER_LIMIT", 100)
    with (
        daemon(tmp_path / "s", body(b'"' + b"x" * 200 + b'"')),
        pytest.raises(ControlError, match="more than 100 bytes"),
    ):
        ControlClient(tmp_path / "s").ask("GET", "status")
