"""Offer the operations on exceptions over HTTP on the control socket.

Every client that can connect may use every route; the log has its user.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from postfix_mta_sts.admin.exceptions.operations import ConfiguredError, ExceptionOperations
from postfix_mta_sts.admin.http import HttpRequest, HttpResponse, Route, json_response
from postfix_mta_sts.admin.serialize import JsonObject
from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.mtasts.exceptions import InvalidExceptionError
from postfix_mta_sts.store import StoreError
from postfix_mta_sts.store.records import RefusedError

BODY_LIMIT: Final = 16_384
"""Bytes of a request: twenty mx patterns of 255 characters, and a reason in any script."""
_ERROR_LIMIT: Final = 1_000
_WITHOUT_STORE: Final = "; write the exception into the configuration and reload: that needs none"


def routes(operations: ExceptionOperations) -> Sequence[Route]:
    """Return the routes."""

    async def listed(_: HttpRequest) -> HttpResponse:
        return json_response(200, await operations.all())

    async def add(request: HttpRequest) -> HttpResponse:
        return await _answer(lambda: operations.add(request.body, request.uid), _WITHOUT_STORE)

    async def remove(request: HttpRequest) -> HttpResponse:
        return await _answer(lambda: operations.remove(request.parts["scope"], request.uid))

    return (
        Route("GET", "/exceptions", listed),
        Route("POST", "/exceptions", add, BODY_LIMIT),
        Route("POST", "/exceptions/{scope}/remove", remove),
    )


async def _answer(operation: Callable[[], Awaitable[JsonObject]], advice: str = "") -> HttpResponse:
    """Answer a request; `advice`: what to do if the store fails."""
    try:
        return json_response(200, await operation())
    except InvalidExceptionError as error:
        return _refusal(400, str(error))
    except (ConfiguredError, RefusedError) as error:
        return _refusal(409, str(error))
    except StoreError as error:
        return _refusal(503, f"nothing has changed: the store failed: {error}{advice}")


def _refusal(status: int, reason: str) -> HttpResponse:
    return json_response(status, {"error": printable(reason, _ERROR_LIMIT)})
