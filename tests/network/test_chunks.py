"""The chunked transfer coding: what RFC 9112 §7.1 allows, and bodies that are not in it."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.errors import TooLargeError
from postfix_mta_sts.mtasts.response import MAX_BODY_SIZE
from postfix_mta_sts.network.chunks import MAX_CHUNKS, ChunkedBody, ChunkError

END = b"0\r\n\r\n"


def decode(data: bytes, size: int = 10_000) -> ChunkedBody:
    """The body after all of `data`, in pieces of some octets."""
    body = ChunkedBody()
    for at in range(0, len(data), size):
        body.feed(data[at : at + size])
    return body


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize(
    "data",
    [
        b"5\r\nhello\r\n" + END,
        b"0005  \r\nhello\r\n" + END,
        b'5 ; a = b\t;c="d;\\"e"\r\nhello\r\n0 ; x\r\n\r\n',
        b"5;\r\nhello\r\n" + END,
        b"2\r\nhe\r\n3\r\nllo\r\n0\r\nContent-Length: 9\r\nX : y\r\n folded\r\n\r\n",
        b"5\nhello\n0\nX: y\n\n",
        b"5\r\nhello\r\n" + END + b"5\r\nother",
    ],
)
def test_good(data: bytes, size: int) -> None:
    """Extensions, trailers, either line end, and what follows are ignored, however they arrive."""
    body = decode(data, size)
    assert (bytes(body.data), body.is_complete) == (b"hello", True)


@pytest.mark.parametrize("size", [1, 10_000])
@pytest.mark.parametrize(
    "data", [b"5\r\nhello\r\n", b"5\r\nhello\r\n0\r\n", b"5\r\nhello\r\n0\r\nX: y\r\n", b"5\r\nhel"]
)
def test_incomplete(data: bytes, size: int) -> None:
    """Without the last chunk and the blank line, a body is not complete."""
    assert not decode(data, size).is_complete


@pytest.mark.parametrize("size", [1, 10_000])
@pytest.mark.parametrize(
    "data",
    [
        b"nonsense",
        b"0x5\r\nhello\r\n",
        b"-5\r\n",
        b"\r\n",
        b" 5\r\nhello\r\n",
        b"5 5\r\nhello\r\n",
        b"5\rhello",
        b"10000000000000005\r\nhello\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhello\r0",
    ],
)
def test_malformed(data: bytes, size: int) -> None:
    """A line that is no size, and a chunk of another size, are refused as soon as they show."""
    with pytest.raises(ChunkError):
        decode(data, size)


@pytest.mark.parametrize(
    "data",
    [
        b"%x\r\n" % (MAX_BODY_SIZE + 1),
        b"ffffffffffffffff\r\n",
        b"1\r\nx\r\n" * (MAX_CHUNKS + 1),
    ],
)
def test_bounds(data: bytes) -> None:
    """A size is refused when it is announced; the number of chunks is bounded, too."""
    with pytest.raises(TooLargeError):
        decode(data)


@given(st.lists(st.binary(min_size=1, max_size=30), max_size=5), st.integers(1, 40))
def test_any_chunks(chunks: Sequence[bytes], size: int) -> None:
    """All data arrives, whatever it contains."""
    data = b"".join(b"%X\r\n%b\r\n" % (len(each), each) for each in chunks) + END
    body = decode(data, size)
    assert (bytes(body.data), body.is_complete) == (b"".join(chunks), True)
