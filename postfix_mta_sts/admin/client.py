"""Send requests to a running daemon: HTTP over a UNIX socket, as the commands use it.

Each way in which a request can fail becomes a `ControlError` of one line. The client blocks, and
uses only the standard library: importing aiohttp's client takes several times as long as a command
needs for its request.
"""

import json
import os
import socket
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse, IncompleteRead
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from postfix_mta_sts.errors import UserError

CLIENT_TIMEOUT: Final = 30.0
"""Seconds without data from the daemon after which a request fails."""
ANSWER_LIMIT: Final = 64 * 2**20
"""Bytes of an answer that is read as a whole."""
_CHUNK: Final = 65_536
_BROKEN: Final = (
    *(HTTPException, ConnectionError, LookupError, TypeError, ValueError),
    RecursionError,  # JSON that is nested too deep
)
"""What an answer that is not the daemon's leads to."""
_IS_IT_RUNNING: Final = "is the daemon running? If with another file, name that with --config"


class ControlError(UserError):
    """The daemon could not be reached, or did not answer. `str()` is one line with the reason."""


class NotRunningError(ControlError):
    """No process listens on the control socket."""


class NoAnswerError(ControlError):
    """The daemon got the request, and may have done what it asks for, or do it later."""


class ControlDeniedError(ControlError):
    """This user may not open the control socket."""


class ControlClient:
    """A client of the control socket at `path`; `timeout` is in seconds."""

    def __init__(self, path: Path, timeout: float = CLIENT_TIMEOUT) -> None:
        self.path = path
        self._timeout = timeout

    def ask(self, method: str, *parts: str, **query: str) -> Any:  # noqa: ANN401 (what JSON can be)
        """Request `/part/part…?name=value` and parse the JSON of the answer.

        Raises `ControlError`.
        """
        with self._response(method, _target(parts, query)) as response:
            return json.loads(_body(response))

    def send(self, value: object, *parts: str) -> Any:  # noqa: ANN401 (what JSON can be)
        """Send a value as JSON to `/part/part…` and parse the JSON of the answer.

        Raises `ControlError`.
        """
        with self._response("POST", _target(parts), json.dumps(value).encode()) as response:
            return json.loads(_body(response))

    def text(self, method: str, *parts: str) -> bytes:
        """Request `/part/part…` and return the answer as it is. Raises `ControlError`."""
        with self._response(method, _target(parts)) as response:
            return _body(response)

    def lines(self, *parts: str, **query: str) -> Iterator[Any]:
        """Request JSON lines and yield each value as it arrives.

        Raises `ControlError`, also for a line `{"error": …}`.
        """
        with self._response("GET", _target(parts, query)) as response:
            rest = b""
            while data := response.read1(_CHUNK):
                *lines, rest = (rest + data).split(b"\n")
                for value in map(json.loads, lines):  # its error is a ValueError
                    if "error" in value:
                        raise ControlError(value["error"])
                    yield value
            if rest:
                raise ValueError("a line without an end")

    @contextmanager
    def _response(
        self, method: str, target: str, body: bytes | None = None
    ) -> Iterator[HTTPResponse]:
        with closing(_Connection(self.path, self._timeout)) as connection:
            try:
                connection.request(method, target, body)
                response = connection.getresponse()
                if response.status != 200:
                    raise ControlError(_describe_status(response))
                yield response
            except TimeoutError:
                reason = f"no answer from the daemon for {self._timeout:g} s"
                advice = "it hangs, or the machine is overloaded; see its log"
                raise NoAnswerError(f"{reason}: {advice}") from None
            except _BROKEN as error:
                reason = f"the answer of the daemon at {self.path} broke off"
                raise NoAnswerError(f"{reason}: try again, and see its log") from error


class _Connection(HTTPConnection):
    """HTTP over a UNIX socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect; `http.client.HTTPConnection`. Raises `ControlError`."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(str(self._path))
        except OSError as error:
            raise _connect_error(error)(_describe_connect_error(self._path, error)) from None


def _body(response: HTTPResponse) -> bytes:
    """The whole answer. Raises `ControlError` if it is too long, or `IncompleteRead`."""
    data = response.read(ANSWER_LIMIT + 1)
    if len(data) > ANSWER_LIMIT:
        raise ControlError(f"the answer of the daemon has more than {ANSWER_LIMIT} bytes")
    if response.length:  # what is missing; only `read` without a limit raises this itself
        raise IncompleteRead(data, response.length)
    return data


def _target(parts: tuple[str, ...], query: Mapping[str, str] | None = None) -> str:
    path = "".join(f"/{quote(part, safe='')}" for part in parts)
    return f"{path}?{urlencode(query)}" if query else path


def _connect_error(error: OSError) -> type[ControlError]:
    match error:
        case PermissionError():
            return ControlDeniedError
        case FileNotFoundError() | ConnectionRefusedError():
            return NotRunningError
    return ControlError


def _describe_connect_error(path: Path, error: OSError) -> str:
    match error:
        case FileNotFoundError():
            return f"there is no control socket {path}: {_IS_IT_RUNNING}"
        case ConnectionRefusedError():
            return f"no process listens on {path}: {_IS_IT_RUNNING}"
        case PermissionError():
            return (
                f"{path}: permission denied; {_describe_owner(path)}; run this as root or that user"
            )
    return f"{path}: {error.strerror or error}"


def _describe_owner(path: Path) -> str:
    """Describe what denies access, the first directory on the path or the socket."""
    closed = (folder for folder in reversed(path.parents) if not os.access(folder, os.X_OK))
    place = next(closed, path)
    status = place.stat()
    owner, group = _name(place.owner, status.st_uid), _name(place.group, status.st_gid)
    mode = stat.S_IMODE(status.st_mode)
    return f"{place} belongs to user {owner}, group {group}, mode {mode:04o}"


def _name(look_up: Callable[[], str], number: int) -> str:
    """Return the name of an account; its number if the system does not know it."""
    try:
        return look_up()
    except KeyError:
        return str(number)


def _describe_status(response: HTTPResponse) -> str:
    match response.status:
        case 400 | 409 | 503:
            return str(json.loads(_body(response))["error"])
        case 404 | 405:
            return "the running daemon is of another version and does not know this; restart it"
    return f"the daemon answered {response.status}; its log has the reason"
