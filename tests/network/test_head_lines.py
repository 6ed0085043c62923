"""Which field lines are put right before the parser sees them."""

import asyncio

import pytest

from postfix_mta_sts.mtasts.errors import IncompleteError
from postfix_mta_sts.network.http_response import ResponseReader
from postfix_mta_sts.network.trace import FetchTrace

START = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
BODY = b"version: STSv1"


def read(fields: str, size: int) -> bytes:
    """The body of a response with these fields that arrives in pieces of some bytes."""
    data = (START + fields + "\r\n").encode() + BODY
    pieces = iter([data[at : at + size] for at in range(0, len(data), size)])

    async def next_piece() -> bytes:
        return next(pieces, b"")

    async def read_all() -> bytes:
        reader = ResponseReader(next_piece, FetchTrace())
        head = await reader.head()
        assert head.media_type == ["text/plain"]
        assert head.length == len(BODY)
        return await reader.body()

    return asyncio.run(read_all())


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize(
    "fields",
    [
        "Content-Length: 14\r\n",
        "Content-Length: 14\r\nX: y\r\ncontent-length:14 \r\n",
        "Content-Length: 14, 14\r\n",
        "Content-Length: 14,\r\n",
        "Content-Length : 14\r\n",
        "X-Powered-By \t: y\r\nContent-Length: 14\r\n",
        "X: Content-Length: 5\r\n Content-Length: 6\r\nContent-Length: 14\r\n",
    ],
)
def test_put_right(fields: str, size: int) -> None:
    """One length that is given several times, and spaces before a colon, are accepted."""
    assert read(fields, size) == BODY


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize(
    "fields",
    [
        "Content-Length: 14\r\nContent-Length: 15\r\n",
        "Content-Length: 14, 15\r\n",
        "Content-Length: 14, 14\r\nContent-Length: 15\r\n",
        "Content-Length: 0x0e\r\n",
        "Content-Length: 1 4\r\n",
        "Content-Length: -14, -14\r\n",
        "Content-Length:\r\n",
        "Content Length: 14\r\n",
        "Content-Length\r\n",
    ],
)
def test_refused(fields: str, size: int) -> None:
    """Different lengths, and what is no length, are refused as before."""
    with pytest.raises(IncompleteError):
        read(fields, size)


def test_informational_responses() -> None:
    """A field of an informational response says nothing about the response."""
    hint = "Content-Length: 9\r\n\r\n" + START
    with pytest.raises(IncompleteError):
        read("Content-Length: 14\r\n" + hint, 10_000)
    data = (START.replace("200 OK", "103 x") + hint + "Content-Length: 14\r\n\r\n").encode() + BODY
    pieces = iter([data])

    async def next_piece() -> bytes:
        return next(pieces, b"")

    async def length() -> int | None:
        return (await ResponseReader(next_piece, FetchTrace()).head()).length

    assert asyncio.run(length()) == len(BODY)
