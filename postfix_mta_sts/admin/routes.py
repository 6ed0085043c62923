"""The questions as HTTP: for commands on the control socket, for siblings on the private ones.

Border: paths and parameters in, JSON out. Whoever may connect may ask everything.
"""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Final

from postfix_mta_sts.admin.control import Control
from postfix_mta_sts.admin.http import Asked, Reply, Route
from postfix_mta_sts.admin.types import JsonObject, PolicyFilter, Witness
from postfix_mta_sts.mtasts.domain import Domain, parse_domain
from postfix_mta_sts.mtasts.errors import InvalidDomainError
from postfix_mta_sts.mtasts.policy import Mode

_JSON: Final = "application/json"
_LINES: Final = "application/jsonl"
_AT_ONCE: Final = 65_536
"""Bytes of lines that are sent together, or a little more."""


def routes(control: Control) -> Sequence[Route]:
    """What is served on the control socket."""

    async def status(_: Asked) -> Reply:
        return _answer(await control.status())

    async def policies(asked: Asked) -> Reply:
        try:
            wanted = _wanted(asked)
        except ValueError:
            return _refusal("no such list")
        return Reply(200, _LINES, _lines(control.policies(wanted)))

    return (
        Route("GET", "/status", status),
        Route("GET", "/policies", policies),
        Route("GET", "/policies/{domain}", _of_domain(control.show)),
        Route("POST", "/policies/{domain}/refresh", _of_domain(control.refresh)),
        Route("POST", "/policies/{domain}/forget", _of_domain(control.forget)),
    )


def private(own: Witness) -> Sequence[Route]:
    """What is served on the socket that only siblings use; see `Sibling`."""

    async def snapshot(_: Asked) -> Reply:
        return Reply(200, _JSON, (await own.snapshot()).to_json())

    async def failing(_: Asked) -> Reply:
        return Reply(200, _LINES, _lines(own.failing()))

    return (
        Route("GET", "/figures", snapshot),
        Route("GET", "/failing", failing),
        Route("GET", "/known/{domain}", _of_domain(own.known)),
        Route("POST", "/forget/{domain}", _of_domain(own.forget)),
        Route("POST", "/unlearn/{domain}", _of_domain(own.unlearn)),
    )


def private_path(path: Path, index: int) -> Path:
    """Where the worker with this index is asked, if all are asked at `path`."""
    return path.with_name(f"{path.stem}.{index}{path.suffix}")


def _of_domain(
    ask: Callable[[Domain], Awaitable[object]],
) -> Callable[[Asked], Awaitable[Reply]]:
    async def answer(asked: Asked) -> Reply:
        try:
            domain = parse_domain(asked.parts["domain"])
        except InvalidDomainError as error:
            return _refusal(str(error))
        return _answer(await ask(domain))

    return answer


def _wanted(asked: Asked) -> PolicyFilter:
    mode, expiring = asked.query.get("mode"), asked.query.get("expiring")
    return PolicyFilter(
        mode=Mode(mode) if mode else None,
        failing="failing" in asked.query,
        expiring_in=int(expiring) if expiring else None,
    )


async def _lines(entries: AsyncGenerator[JsonObject]) -> AsyncGenerator[bytes]:
    """One entry a line, many lines at once."""
    lines, size = [], 0
    async with aclosing(entries):
        async for entry in entries:
            lines.append(json.dumps(entry).encode() + b"\n")
            size += len(lines[-1])
            if size >= _AT_ONCE:
                yield b"".join(lines)
                lines, size = [], 0
    if lines:
        yield b"".join(lines)


def _answer(said: object) -> Reply:
    return Reply(200, _JSON, json.dumps(said).encode())


def _refusal(reason: str) -> Reply:
    return Reply(400, _JSON, json.dumps({"error": reason}).encode())
