"""Requests, responses and routes of the HTTP endpoints, as plain values.

A handler does not depend on HTTP, except for the status and the media type that it returns.
`http_server` serves routes; this module does not import it, because importing aiohttp costs 200 ms
and 16 MiB.
"""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """The parts of an HTTP request that a handler needs."""

    parts: Mapping[str, str]
    """The value of each `{name}` in the route's path: decoded, not validated."""
    query: Mapping[str, str]
    """The parameters after `?`; of a parameter that is given twice, the first."""
    uid: int | None = None
    """The user of the client, on a UNIX socket."""
    body: bytes = b""
    """Read only for a route that has a `body_limit`."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """The answer to a request."""

    status: int
    content_type: str
    """With its parameters: `text/plain; charset=utf-8`."""
    body: bytes | AsyncGenerator[bytes]
    """Pieces are sent one by one, each after the client has taken the previous one. If the
    generator raises an error, the client sees that the body is incomplete."""


@dataclass(frozen=True, slots=True)
class Route:
    """The handler of the requests with one method and path."""

    method: str
    """GET answers HEAD too."""
    path: str
    """`/policies/{domain}`: a name in braces stands for any one segment that is not empty."""
    answer: Callable[[HttpRequest], Awaitable[HttpResponse]]
    """Errors that it raises are logged and answered with 500."""
    body_limit: int = 0
    """Bytes of a body that are read; a longer one is answered with 413. 0: none is read."""


def json_response(status: int, answer: object) -> HttpResponse:
    """Return an answer as JSON."""
    return HttpResponse(status, "application/json", json.dumps(answer).encode())
