"""Which heads of an HTTP response may be followed by a policy."""

import gzip

import pytest

from postfix_mta_sts.mtasts.errors import (
    FetchError,
    IncompleteError,
    MediaTypeError,
    StatusError,
    TooLargeError,
)
from postfix_mta_sts.mtasts.response import MAX_BODY_SIZE, Head, check_head, check_size, decoded

PLAIN = ["text/plain"]
GZIP = Head(200, PLAIN, content_coding=["gzip"])


@pytest.mark.parametrize(
    "head",
    [
        Head(200, PLAIN, length=5),
        Head(200, PLAIN, length=0),
        Head(200, PLAIN, length=MAX_BODY_SIZE),
        Head(200, PLAIN, transfer_coding=["Chunked"]),
        Head(200, PLAIN, transfer_coding=[", chunked ,", ""]),
        Head(200, [r'text/plain; x="\", text/html; y="'], length=5),
        Head(200, [" TEXT/plain\t; charset=utf-16"], length=5),
        Head(200, PLAIN, content_coding=["identity"], length=5),
        Head(200, PLAIN, content_coding=[""], length=5),
        Head(200, PLAIN),
        Head(200, PLAIN, transfer_coding=[""]),
        Head(200, [*PLAIN, "text/plain; charset=utf-8"], length=5),
    ],
)
def test_good(head: Head) -> None:
    """Status 200, plain text, and not encoded."""
    check_head(head)


@pytest.mark.parametrize(
    ("head", "ends_with_connection"),
    [
        (Head(200), True),
        (Head(200, transfer_coding=[" "]), True),
        (Head(200, length=0), False),
        (Head(200, transfer_coding=["chunked"]), False),
    ],
)
def test_end(head: Head, *, ends_with_connection: bool) -> None:
    """Without a length or chunks, only the end of the connection ends a body."""
    assert head.ends_with_connection == ends_with_connection


@pytest.mark.parametrize(
    ("head", "error", "reason"),
    [
        (Head(404, PLAIN, length=5), StatusError, "HTTP 404"),
        (Head(201, PLAIN, length=5), StatusError, "HTTP 201"),
        (Head(301), StatusError, "HTTP 301: redirects are not followed"),
        (Head(304), StatusError, "HTTP 304"),
        (Head(200, length=5), MediaTypeError, "no Content-Type header"),
        (Head(200, [""], length=5), MediaTypeError, "Content-Type is not text/plain: ''"),
        (
            Head(200, ["text/plain", "text/html"], length=5),
            MediaTypeError,
            "Content-Type is not text/plain: 'text/plain, text/html'",
        ),
        (
            Head(200, ["text/plain, text/html"], length=5),
            MediaTypeError,
            "Content-Type is not text/plain: 'text/plain, text/html'",
        ),
        (
            Head(200, PLAIN, content_coding=["identity", "br"], length=5),
            MediaTypeError,
            "unsupported Content-Encoding 'br'",
        ),
        (
            Head(200, PLAIN, transfer_coding=["gzip, chunked"]),
            MediaTypeError,
            "unsupported Transfer-Encoding 'gzip, chunked'",
        ),
        (Head(200, PLAIN, length=MAX_BODY_SIZE + 1), TooLargeError, "more than 65536 bytes"),
    ],
)
def test_refused(head: Head, error: type[FetchError], reason: str) -> None:
    """Each fault raises its error with its reason."""
    with pytest.raises(error) as caught:
        check_head(head)
    assert str(caught.value) == reason


@pytest.mark.parametrize("rest", [b"", b"\0\0"])
def test_members_of_gzip(rest: bytes) -> None:
    """A file of gzip may have several members (RFC 1952 §2.2); other bytes after it are ignored."""
    body = gzip.compress(b"mx: a\n") + gzip.compress(b"") + gzip.compress(b"mx: b\n") + rest
    assert decoded(GZIP, body) == b"mx: a\nmx: b\n"


@pytest.mark.parametrize(
    ("more", "error"),
    [
        (gzip.compress(b"x" * MAX_BODY_SIZE), TooLargeError),
        (gzip.compress(b"x")[:-1], IncompleteError),
        (b"\x1f\x8b\xff" + bytes(20), MediaTypeError),
    ],
    ids=["too much", "cut", "damaged"],
)
def test_a_bad_member_of_gzip(more: bytes, error: type[FetchError]) -> None:
    """Each member is checked, and all of them together are bounded."""
    with pytest.raises(error):
        decoded(GZIP, gzip.compress(b"mx: a\n") + more)


def test_size() -> None:
    """64 KiB are allowed, and not one byte more."""
    check_size(MAX_BODY_SIZE)
    with pytest.raises(TooLargeError):
        check_size(MAX_BODY_SIZE + 1)
