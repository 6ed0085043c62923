"""Reading one response, however its bytes arrive, and without a connection."""

import asyncio
import ssl
from collections.abc import Callable, Iterable

import pytest

from postfix_mta_sts.mtasts.errors import FetchError, IncompleteError, UnreachableError
from postfix_mta_sts.mtasts.response import Head
from postfix_mta_sts.network.http_response import MAX_INFORMATIONAL, ResponseReader
from postfix_mta_sts.network.trace import FetchTrace
from tests.support.policy_host import chunked, ok, reply

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
FRAMED = {"Content-Length": ok(b"body"), "chunked": chunked(b"bo", b"dy")}


def read(pieces: Iterable[bytes], end: Exception | None = None) -> tuple[Head, bytes]:
    """Head and body of a response that arrives in these pieces; `end` follows them."""
    return asyncio.run(_read(pieces, end))


async def _read(pieces: Iterable[bytes], end: Exception | None) -> tuple[Head, bytes]:
    rest = iter(pieces)

    async def next_piece() -> bytes:
        if (piece := next(rest, b"")) or end is None:
            return piece
        raise end

    reader = ResponseReader(next_piece, FetchTrace(address="192.0.2.1"))
    head = await reader.head()
    return head, await reader.body()


def whole(data: bytes) -> list[bytes]:
    """All bytes at once."""
    return [data]


def single(data: bytes) -> list[bytes]:
    """Each byte for itself."""
    return [data[at : at + 1] for at in range(len(data))]


@pytest.mark.parametrize("cut", [whole, single])
@pytest.mark.parametrize("answer", FRAMED.values(), ids=FRAMED)
@pytest.mark.parametrize("before", [b"", CONTINUE * MAX_INFORMATIONAL], ids=["", "hints"])
def test_response(cut: Callable[[bytes], list[bytes]], answer: bytes, before: bytes) -> None:
    """Head and body are the same, however the bytes arrive."""
    head, body = read(cut(before + answer))
    assert (head.status, head.media_type, body) == (200, ["text/plain"], b"body")


def test_fields() -> None:
    """The fields that matter are kept, each occurrence of them, and no field of a hint."""
    hint = b"HTTP/1.1 103 Early Hints\r\nContent-Type: text/html\r\n\r\n"
    answer = ok(b"", "a", content_encoding="b", location="e", date="f", x="c")
    head, _ = read([hint + answer.replace(b"X: c", b"content-TYPE: d\xe9")])
    assert head == Head(200, ["a", "dé"], ["b"], [], 0, "e", "f")


@pytest.mark.parametrize("cut", [whole, single])
@pytest.mark.parametrize("more", [b"mx: x", b"\r\n", ok(b"other"), CONTINUE])
def test_bytes_after_the_end(cut: Callable[[bytes], list[bytes]], more: bytes) -> None:
    """What follows the response is not part of it."""
    assert read(cut(ok(b"body") + more))[1] == b"body"


def test_trailers() -> None:
    """Trailers are ignored."""
    head, body = read([chunked(b"x", end=b"0\r\nContent-Type: text/html\r\n\r\n")])
    assert (head.media_type, body) == (["text/plain"], b"x")


def test_switching_protocols() -> None:
    """101 is not skipped; the bytes after it are not HTTP."""
    head, body = read([b"HTTP/1.1 101 x\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nbytes"])
    assert (head.status, body) == (101, b"")


def test_an_error_after_the_head() -> None:
    """The head is returned although its body is malformed: its status may be the reason."""
    answer = reply(404, content_length="", transfer_encoding="chunked") + b"nonsense"

    async def head() -> Head:
        async def all_at_once() -> bytes:
            return answer

        return await ResponseReader(all_at_once, FetchTrace()).head()

    assert asyncio.run(head()).status == 404
    with pytest.raises(IncompleteError, match="malformed HTTP: "):
        read([answer])


@pytest.mark.parametrize(
    ("sent", "end", "kind", "reason"),
    [
        (b"", None, IncompleteError, "closed before the response"),
        (b"HTTP/1.1 200", ssl.SSLEOFError(), IncompleteError, "closed before the response"),
        (b"", ConnectionResetError(104, ""), UnreachableError, "192.0.2.1: connection lost: "),
        (ok(b"x", content_length="9"), None, IncompleteError, "broke off after 1 bytes"),
        (ok(b"x", content_length="9"), OSError(), IncompleteError, "broke off after 1 bytes"),
    ],
)
def test_lost(sent: bytes, end: Exception | None, kind: type[FetchError], reason: str) -> None:
    """A connection that ends early is an error, with how far the response got."""
    with pytest.raises(kind, match=reason):
        read([sent] if sent else [], end)
