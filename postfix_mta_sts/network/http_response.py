"""Read one HTTP response with httptools, and translate its errors; `chunks` reads chunked bodies.

This is the only file that imports httptools, the binding of llhttp. It reads from any connection
(`tls`, `stream`) and does not judge a response (`mtasts.response` does).
"""

import ssl
from collections.abc import Awaitable, Callable
from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from postfix_mta_sts.mtasts.errors import (
    FetchError,
    IncompleteError,
    TooLargeError,
    UnreachableError,
    printable,
)
from postfix_mta_sts.mtasts.response import Head, check_size
from postfix_mta_sts.network.chunks import ChunkedBody, ChunkError
from postfix_mta_sts.network.connect import describe
from postfix_mta_sts.network.head_lines import HeadLines, whole_lines
from postfix_mta_sts.network.trace import FetchTrace

MAX_INFORMATIONAL: Final = 5
"""Informational responses (RFC 9110 §15.2) before the response itself."""
MAX_HEAD: Final = 65_536
"""Bytes of all heads together."""
MAX_RESPONSE: Final = 262_144
"""Bytes of the whole response: heads, chunk sizes and extensions, trailers, body."""

_CLOSED = "the connection was closed before the response"
_NOT_CLOSED = "no Content-Length, not chunked, and the connection ended without close_notify"


class ResponseReader:
    """Reads one response; call `head`, then `body`, which both raise `FetchError`.

    `read` returns the next bytes, empty once the peer has closed the session properly; it raises
    `OSError` or `FetchError`. `trace` provides the address for error texts and receives the body's
    size.
    """

    def __init__(self, read: Callable[[], Awaitable[bytes]], trace: FetchTrace) -> None:
        self._read = read
        self._trace = trace
        self._received = 0
        self._parsed = _Parsed()

    def close(self) -> None:
        """Free the parser; call nothing else afterwards."""
        self._parsed.close()

    async def head(self) -> Head:
        """The head of the response, without informational ones; 101 is a response."""
        while self._parsed.head is None:
            await self._receive()
        return self._parsed.head

    async def body(self) -> bytes:
        """The body; raises `TooLargeError` as soon as it exceeds the limit."""
        self._note_size()
        while not self._parsed.is_complete:
            if self._parsed.error:
                raise self._parsed.error
            if not await self._receive():
                break
            self._note_size()
        return bytes(self._parsed.body)

    def _note_size(self) -> None:
        self._trace.size = len(self._parsed.body)
        check_size(self._trace.size)

    async def _receive(self) -> bool:
        """Parse the next bytes; false at the end of a body that ends with the connection."""
        data = await self._next()
        self._received += len(data)
        if self._received > MAX_RESPONSE:
            raise TooLargeError(f"more than {MAX_RESPONSE} bytes of HTTP")
        self._parsed.feed(data)
        return bool(data)

    async def _next(self) -> bytes:
        try:
            data = await self._read()
        except OSError as error:
            raise self._lost(error) from error
        if not data and not self._ends_with_connection:
            raise self._closed()
        return data

    @property
    def _ends_with_connection(self) -> bool:
        return self._parsed.head is not None and self._parsed.head.ends_with_connection

    def _lost(self, error: OSError) -> FetchError:
        if self._parsed.head or isinstance(error, ssl.SSLEOFError):
            return self._closed()
        return UnreachableError(f"{self._trace.address}: connection lost: {describe(error)}")

    def _closed(self) -> IncompleteError:
        if self._ends_with_connection:
            # RFC 9112 §9.8: an attacker who cuts the connection could cut lines off the policy.
            return IncompleteError(_NOT_CLOSED)
        if self._parsed.head:
            return IncompleteError(f"the body broke off after {self._trace.size or 0} bytes")
        return IncompleteError(_CLOSED)


class _Parsed:
    """The response as far as it was parsed; httptools calls the methods `on_...`.

    An error after the head is kept in `error`: the head alone may be a reason to refuse.
    """

    def __init__(self) -> None:
        self.head: Head | None = None
        self.body = bytearray()
        self.is_complete = False
        self.error: FetchError | None = None
        self._parser = HttpResponseParser(self)
        # What servers send and browsers take. It cannot add a second response or a length here:
        # the connection is closed after one response.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True,  # control characters in the value of any field
            lenient_optional_cr_before_lf=True,  # RFC 9112 §2.2
            lenient_version=True,  # a higher minor version counts as 1.1 (RFC 9110 §2.5)
        )
        self._unparsed = bytearray()  # less than a line of a head
        self._lines = HeadLines()
        self._head_size = 0
        self._informational = 0
        self._fields: dict[bytes, list[str]] = {}
        self._chunks: ChunkedBody | None = None

    def close(self) -> None:
        """Break the cycles of references, with the parser and with a traceback."""
        del self._parser
        self.error = None

    def feed(self, data: bytes) -> None:
        """Parse the next bytes; raises `FetchError` if they make no head."""
        try:
            self._parse(data)
        except (HttpParserError, HttpParserUpgrade, ChunkError) as error:
            self.error = _malformed(printable(str(error)))
        except TooLargeError as error:
            self.error = error
        if self.error and self.head is None:
            raise self.error

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of a head."""
        if self.head is None and (fields := self._fields.get(name.lower())) is not None:
            fields.append(value.decode("latin-1"))

    def on_message_begin(self) -> None:
        """The start of an informational response, of the response, or of what follows it."""
        self._fields = {name: [] for name in _FIELDS}

    def on_headers_complete(self) -> None:
        """The end of a head."""
        status = self._parser.get_status_code()
        if self.head is None and 100 <= status < 200 and status != 101:
            self._lines = HeadLines()
            self._informational += 1
            if self._informational > MAX_INFORMATIONAL:
                self.error = _malformed(f"more than {MAX_INFORMATIONAL} informational responses")
        elif self.head is None and self.error is None:
            self.head = _head(status, *self._fields.values())
            if self.head.is_chunked:
                self._chunks = ChunkedBody()
                self.body = self._chunks.data

    def on_body(self, data: bytes) -> None:
        """A part of a body that is not chunked."""
        if not self.is_complete:
            self.body += data

    def on_message_complete(self) -> None:
        """The end of a response that is not chunked, informational ones included."""
        self.is_complete = self.head is not None

    def _parse(self, data: bytes) -> None:
        if self.head is None:
            data = self._parse_head(data)
        if data and not self.error:
            self._parse_body(data)

    def _parse_body(self, data: bytes) -> None:
        if self._chunks is None:
            self._parser.feed_data(data)
        elif not self.is_complete:
            self._chunks.feed(data)
            self.is_complete = self._chunks.is_complete

    def _parse_head(self, data: bytes) -> bytes:
        """Parse whole lines until the end of the head; return what follows it."""
        self._unparsed += data
        if b"\n" in data:
            self._parse_lines()
        if self.head is None:
            self._check_head_size(self._head_size + len(self._unparsed))
            return b""
        return bytes(self._unparsed)

    def _parse_lines(self) -> None:
        while self.head is None and (size := whole_lines(self._unparsed)):
            lines = bytes(self._unparsed[:size])
            del self._unparsed[:size]
            self._head_size += size
            self._check_head_size(self._head_size)
            if self.error:
                break
            self._parser.feed_data(self._lines.corrected(lines))

    def _check_head_size(self, size: int) -> None:
        if size > MAX_HEAD and not self.error:
            self.error = _malformed(f"a head of more than {MAX_HEAD} bytes")


_FIELDS: Final = (
    b"content-type",
    b"content-encoding",
    b"transfer-encoding",
    b"content-length",
    b"location",
    b"date",
)


def _head(
    status: int,
    types: list[str],
    content: list[str],
    transfer: list[str],
    length: list[str],
    location: list[str],
    date: list[str],
) -> Head:
    # llhttp has refused lengths that are repeated or have other characters than digits.
    size = int(length[0]) if length else None
    first = (each[0] if each else None for each in (location, date))
    return Head(status, types, content, transfer, size, *first)


def _malformed(reason: str) -> IncompleteError:
    return IncompleteError(f"malformed HTTP: {reason}")
