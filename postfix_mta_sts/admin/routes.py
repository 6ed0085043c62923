"""Offer the operations of `control` over HTTP on the control socket.

This module parses paths and parameters, and writes JSON. Every client that can connect may use
every route.
"""

import json
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Final

from postfix_mta_sts.admin.control import Control
from postfix_mta_sts.admin.history import PolicyHistory
from postfix_mta_sts.admin.http import HttpRequest, HttpResponse, Route, json_response
from postfix_mta_sts.admin.serialize import JsonObject, PolicyFilter
from postfix_mta_sts.admin.trial import Trial
from postfix_mta_sts.mtasts.domain import Domain, parse_domain
from postfix_mta_sts.mtasts.errors import InvalidDomainError
from postfix_mta_sts.mtasts.policy import Mode

_JSON_LINES: Final = "application/jsonl"
KEY_LIMIT: Final = 1_000
"""Bytes of a key: a domain of 253 characters in U-labels, and a port."""
_CHUNK: Final = 65_536
"""Bytes of lines that are sent together, or a little more."""
_SECONDS: Final = re.compile("[0-9]{1,10}")
"""Up to 317 years; `max_age` is at most one (RFC 8461 §3.2)."""


def routes(control: Control) -> Sequence[Route]:
    """Return the routes of the control socket."""

    async def status(_: HttpRequest) -> HttpResponse:
        return _ok(await control.status())

    async def fleet(_: HttpRequest) -> HttpResponse:
        return _ok({"fleet": await control.fleet()})

    async def relays(_: HttpRequest) -> HttpResponse:
        return _ok(await control.relays())

    async def policies(request: HttpRequest) -> HttpResponse:
        try:
            wanted = _policy_filter(request)
        except ValueError:
            return _bad_request("mode, expiring or asked_within is not valid")
        return HttpResponse(200, _JSON_LINES, _lines(control.policies(wanted)))

    async def answers(request: HttpRequest) -> HttpResponse:
        key = request.query.get("key", "")
        if not key or len(key.encode("utf-8", "replace")) > KEY_LIMIT:
            return _bad_request(f"key: 1 to {KEY_LIMIT} bytes")
        return _ok(await control.answers(key))

    return (
        Route("GET", "/status", status),
        Route("GET", "/fleet", fleet),
        Route("GET", "/fleet/relays", relays),
        Route("GET", "/answers", answers),
        Route("GET", "/policies", policies),
        Route(
            "GET",
            "/policies/{domain}",
            _for_domain(lambda domain, _: control.show_with_fleet(domain)),
        ),
        Route("POST", "/policies/{domain}/refresh", _for_domain(control.refresh)),
        Route("POST", "/policies/{domain}/forget", _for_domain(control.forget)),
    )


def trial_routes(trial: Trial) -> Sequence[Route]:
    """Return the routes for the report of a trial."""

    async def report(request: HttpRequest) -> HttpResponse:
        within = request.query.get("asked_within", "")
        if not _SECONDS.fullmatch(within):
            return _bad_request("asked_within: a number of seconds, of 1 to 10 digits")
        return HttpResponse(200, _JSON_LINES, _lines(trial.report(int(within))))

    return (Route("GET", "/trial", report),)


def history_routes(history: PolicyHistory) -> Sequence[Route]:
    """Return the route for the past of domains."""

    async def entries(request: HttpRequest) -> HttpResponse:
        name, within = request.query.get("domain"), request.query.get("within")
        try:
            domain = parse_domain(name) if name else None
            seconds = _seconds(within) if within else None
        except InvalidDomainError as error:
            return _bad_request(str(error))
        except ValueError:
            return _bad_request("within is not valid")
        return HttpResponse(200, _JSON_LINES, _lines(history.entries(domain, seconds)))

    return (Route("GET", "/history", entries),)


def _for_domain(
    operation: Callable[[Domain, int | None], Awaitable[object]],
) -> Callable[[HttpRequest], Awaitable[HttpResponse]]:
    async def answer(request: HttpRequest) -> HttpResponse:
        try:
            domain = parse_domain(request.parts["domain"])
        except InvalidDomainError as error:
            return _bad_request(str(error))
        return _ok(await operation(domain, request.uid))

    return answer


def _policy_filter(request: HttpRequest) -> PolicyFilter:
    mode, expiring = request.query.get("mode"), request.query.get("expiring")
    asked = request.query.get("asked_within")
    return PolicyFilter(
        mode=Mode(mode) if mode else None,
        failing="failing" in request.query,
        expiring_in=_seconds(expiring) if expiring else None,
        asked_within=_seconds(asked) if asked else None,
    )


def _seconds(text: str) -> int:
    if not _SECONDS.fullmatch(text):
        raise ValueError("not a number of seconds")
    return int(text)


async def _lines(entries: AsyncGenerator[JsonObject]) -> AsyncGenerator[bytes]:
    """Write one entry per line; yield many lines at once."""
    lines, size = [], 0
    async with aclosing(entries):
        async for entry in entries:
            lines.append(json.dumps(entry).encode() + b"\n")
            size += len(lines[-1])
            if size >= _CHUNK:
                yield b"".join(lines)
                lines, size = [], 0
    if lines:
        yield b"".join(lines)


def _ok(answer: object) -> HttpResponse:
    return json_response(200, answer)


def _bad_request(reason: str) -> HttpResponse:
    return json_response(400, {"error": reason})
