"""A daemon that runs, as a command or another of its processes asks it: HTTP over a UNIX socket.

Border: plain data in and out, and each way in which asking fails in one line for a person. It
blocks, and is made of the standard library: aiohttp's client takes several times as long to
import as a command needs to ask.
"""

import grp
import json
import os
import pwd
import socket
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from postfix_mta_sts.errors import UserError

PATIENCE: Final = 30.0
"""Seconds that a daemon may take to say the next word."""
_AT_ONCE: Final = 65_536


class ControlError(UserError):
    """The daemon could not be asked, or did not answer. `str()` is one line: why."""


class ControlClient:
    """Where a daemon can be asked: the path of its control socket, and how long it may take."""

    def __init__(self, path: Path, patience: float = PATIENCE) -> None:
        self.path = path
        self._patience = patience

    def ask(self, method: str, *parts: str) -> Any:  # noqa: ANN401 (what JSON can be)
        """What it says of `/part/part…`. Raises `ControlError`."""
        with self._response(method, _target(parts)) as response:
            return json.loads(response.read())

    def text(self, method: str, *parts: str) -> bytes:
        """The same, as it is written."""
        with self._response(method, _target(parts)) as response:
            return response.read()

    def lines(self, *parts: str, **query: str) -> Iterator[Any]:
        """The same, of one JSON object a line, each as it comes; `{"error": …}` is raised."""
        with self._response("GET", _target(parts, query)) as response:
            rest = b""
            while data := response.read1(_AT_ONCE):
                *lines, rest = (rest + data).split(b"\n")
                for value in map(json.loads, lines):  # its error is a ValueError
                    if "error" in value:
                        raise ControlError(value["error"])
                    yield value
            if rest:
                raise ValueError("a line without an end")

    @contextmanager
    def _response(self, method: str, target: str) -> Iterator[HTTPResponse]:
        with closing(_Connection(self.path, self._patience)) as connection:
            try:
                connection.request(method, target)
                response = connection.getresponse()
                if response.status != 200:
                    raise ControlError(_refusal(response))
                yield response
            except TimeoutError:
                raise ControlError(f"the daemon says nothing for {self._patience:g} s") from None
            except (HTTPException, ConnectionError, LookupError, TypeError, ValueError) as error:
                raise ControlError(f"the daemon at {self.path} broke off its answer") from error


class _Connection(HTTPConnection):
    """HTTP over a UNIX socket."""

    def __init__(self, path: Path, patience: float) -> None:
        super().__init__("localhost", timeout=patience)
        self._path = path

    def connect(self) -> None:
        """Connect; `http.client.HTTPConnection`. Raises `ControlError`."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(str(self._path))
        except OSError as error:
            raise ControlError(_unreached(self._path, error)) from None


def _target(parts: tuple[str, ...], query: Mapping[str, str] | None = None) -> str:
    path = "".join(f"/{quote(part, safe='')}" for part in parts)
    return f"{path}?{urlencode(query)}" if query else path


def _unreached(path: Path, error: OSError) -> str:
    match error:
        case FileNotFoundError():
            return f"there is no control socket {path}: is the daemon running?"
        case ConnectionRefusedError():
            return f"nobody listens on {path}: is the daemon running?"
        case PermissionError():
            return f"{path}: not allowed; {_who_may(path)}"
    return f"{path}: {error.strerror or error}"


def _who_may(path: Path) -> str:
    """Whose it is that keeps us out: the first folder on the way, or the socket."""
    shut = (folder for folder in reversed(path.parents) if not os.access(folder, os.X_OK))
    place = next(shut, path)
    status = place.stat()
    owner, group = _name(pwd.getpwuid, status.st_uid), _name(grp.getgrgid, status.st_gid)
    return f"{place} is for user {owner}, group {group}, mode {stat.S_IMODE(status.st_mode):04o}"


def _name(entry: Callable[[int], Sequence[object]], number: int) -> str:
    try:
        return str(entry(number)[0])
    except KeyError:
        return str(number)


def _refusal(response: HTTPResponse) -> str:
    match response.status:
        case 400:
            return str(json.loads(response.read())["error"])
        case 404 | 405:
            return "the daemon that runs does not know this: it is of another version; restart it"
    return f"the daemon could not say: {response.status}; its log says why"
