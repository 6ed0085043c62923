"""The head of a Policy Host's response → whether what follows may be a policy.

Border: what HTTP itself forbids, the HTTP library has refused already. Of the fields that a
head may have, the five below matter; no other is ever looked at (no caching, no cookies).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from postfix_mta_sts.mtasts.errors import (
    IncompleteError,
    MediaTypeError,
    StatusError,
    TooLargeError,
    printable,
)

SIZE_MOST: Final = 65_536
"""Bytes of a body (RFC 8461 §3.3 suggests 64 kilobytes)."""
_REDIRECTS = {301, 302, 303, 307, 308}


@dataclass(frozen=True, slots=True)
class Head:
    """Status and fields; those that a response may repeat by mistake as they came."""

    status: int
    media_type: Sequence[str] = ()
    content_coding: Sequence[str] = ()
    transfer_coding: Sequence[str] = ()
    length: int | None = None
    """Content-Length."""


def check_head(head: Head) -> None:
    """Return if a policy may follow (RFC 8461 §3.2, §3.3); raises `FetchError`."""
    if head.status != 200:
        redirect = ", a redirect, which is never followed" if head.status in _REDIRECTS else ""
        raise StatusError(f"HTTP {head.status}{redirect}")
    _check_media_type(head.media_type)
    coding = _joined(head.content_coding)
    if coding not in {"", "identity"}:
        raise MediaTypeError(f"content coding {printable(coding)!r}")
    _check_framing(head)


def check_size(size: int) -> None:
    """Raise `TooLargeError` if a body has, or will have, too many bytes."""
    if size > SIZE_MOST:
        raise TooLargeError(f"more than {SIZE_MOST} bytes")


def _check_media_type(fields: Sequence[str]) -> None:
    if not fields:
        raise MediaTypeError("no Content-Type")
    # Parameters are ignored, a charset too: it must never select a codec.
    if len(fields) > 1 or fields[0].partition(";")[0].strip(" \t").lower() != "text/plain":
        found = printable(", ".join(fields))
        raise MediaTypeError(f"Content-Type is not text/plain: {found!r}")


def _check_framing(head: Head) -> None:
    """Refuse a body that only the connection's end would end (RFC 9112 §6.3, §8, §9.8).

    Whoever can cut a connection could so cut lines off a policy: whether TLS was closed as it
    should be is not told by asyncio.
    """
    coding = _joined(head.transfer_coding)
    if coding not in {"", "chunked"}:
        raise MediaTypeError(f"transfer coding {printable(coding)!r}")
    if not coding and head.length is None:
        raise IncompleteError("neither Content-Length nor chunked: no telling where it ends")
    check_size(head.length or 0)


def _joined(codings: Sequence[str]) -> str:
    return ", ".join(codings).strip(" \t").lower()
