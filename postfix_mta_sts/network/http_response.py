"""Read one HTTP response with aiohttp's protocol and parser, and translate its errors.

This is the only file that imports the client side of aiohttp. It does not open connections
(`connect` and `proxy` do) and does not judge a response (`mtasts.response` does).

aiohttp's `ClientSession` is not used: it builds for each GET objects that are the same for all of
them, and it repeats a request whose connection was closed without a response.
"""

import asyncio
from typing import cast

from aiohttp import ClientError, ClientOSError, ClientPayloadError, StreamReader

# Below the documented API of aiohttp, so a new release may change them:
#   client_proto.ResponseHandler          connection_made, read, set_response_params, transport
#   http_exceptions.HttpProcessingError   message: what the parser raises
#   http_parser.RawResponseMessage        code, headers: what the parser returns
# Reason: the documented way is `ClientSession`; see the docstring above.
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawResponseMessage

from postfix_mta_sts.mtasts.errors import FetchError, IncompleteError, UnreachableError, printable
from postfix_mta_sts.mtasts.response import Head, check_size
from postfix_mta_sts.network.connect import describe
from postfix_mta_sts.network.trace import FetchTrace

_CLOSED = "the connection was closed before the response"


class _ResponseProtocol(ResponseHandler):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # aiohttp would set TCP_NODELAY again here; the event loop has set it already.
        self.transport = cast("asyncio.Transport", transport)


class ResponseReader:
    """Reads the response on one connection; make it inside an event loop.

    Connect its `protocol`, send the request to `transport`, then call `head` and `body`. Both
    raise `FetchError`. `trace` provides the address for error texts and receives the body's size.
    """

    def __init__(self, trace: FetchTrace) -> None:
        self._trace = trace
        self._protocol = _ResponseProtocol(asyncio.get_running_loop())
        self._content: StreamReader

    @property
    def protocol(self) -> asyncio.Protocol:
        """The protocol of the connection to read from."""
        return self._protocol

    @property
    def transport(self) -> asyncio.Transport:
        """The transport of that connection; raises `IncompleteError` if it is closed already."""
        if self._protocol.transport is None:
            raise IncompleteError(_CLOSED)
        return self._protocol.transport

    async def head(self) -> Head:
        """The head of the response; informational responses (RFC 9110 §15.2) are skipped."""
        self._protocol.set_response_params(read_until_eof=True, auto_decompress=False)
        try:
            while True:
                message, self._content = await self._protocol.read()
                if not 100 <= message.code < 200 or message.code == 101:
                    return _head(message)
        except (ClientError, HttpProcessingError) as error:
            raise self._translate(error) from error

    async def body(self) -> bytes:
        """The body; raises `TooLargeError` as soon as it exceeds the limit."""
        body = bytearray()
        try:
            while block := await self._content.readany():
                body += block
                self._trace.size = len(body)
                check_size(len(body))
        except (ClientError, HttpProcessingError) as error:
            raise self._translate(error) from error
        self._trace.size = len(body)
        return bytes(body)

    def _translate(self, error: ClientError | HttpProcessingError) -> FetchError:
        match error:
            case ClientOSError():
                text = f"{self._trace.address}: connection lost: {describe(error)}"
                return UnreachableError(text)
            case HttpProcessingError():
                # The further lines of the text point at the place of the error.
                phrase = error.message.partition("\n")[0].rstrip(":")
                return IncompleteError(f"malformed HTTP: {printable(phrase)}")
            case ClientPayloadError():
                text = f"the body broke off after {self._trace.size or 0} bytes"
                return IncompleteError(text)
            case _:
                return IncompleteError(_CLOSED)


def _head(message: RawResponseMessage) -> Head:
    fields = message.headers
    length = fields.get("Content-Length")
    return Head(
        status=message.code,
        media_type=fields.getall("Content-Type", []),
        content_coding=fields.getall("Content-Encoding", []),
        transfer_coding=fields.getall("Transfer-Encoding", []),
        length=None if length is None else int(length),  # the parser accepts digits only
    )
