"""Check whether the head of a Policy Host's HTTP response may be followed by a policy.

The HTTP library has already refused what HTTP itself forbids. Only the header fields in `Head`
matter: caching and cookies are ignored. `decoded` undoes a compression that was not asked for.
"""

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from postfix_mta_sts.mtasts.errors import (
    IncompleteError,
    MediaTypeError,
    StatusError,
    TooLargeError,
    printable,
)

MAX_BODY_SIZE: Final = 65_536
"""Maximum size of a body in bytes (RFC 8461 §3.3 suggests 64 kilobytes)."""
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
"""Statuses that name another place (RFC 9110 §15.4)."""
_WINDOWS: Final[Mapping[str, int]] = {"gzip": 31, "x-gzip": 31, "deflate": 15}
"""Content codings that are accepted, and `wbits` of zlib for them (RFC 9110 §8.4.1)."""
_MEMBER: Final = b"\x1f\x8b"
"""How a member of a gzip file begins; there may be several (RFC 1952 §2.2, §2.3.1)."""
_CODINGS: Final = {
    *_WINDOWS,
    *("aes128gcm", "br", "compress", "dcb", "dcz", "exi", "pack200-gzip", "x-compress", "zstd"),
}
"""IANA's registry of HTTP content codings, November 2026, without `identity`."""
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*+"')
"""A parameter's value, which may contain commas and quoted quotes (RFC 9110 §5.6.4)."""


@dataclass(frozen=True, slots=True)
class Head:
    """The status and the header fields; sequences hold each occurrence of a repeated field."""

    status: int
    media_type: Sequence[str] = ()
    content_coding: Sequence[str] = ()
    transfer_coding: Sequence[str] = ()
    length: int | None = None
    """Content-Length."""
    location: str | None = None
    """Where a redirect leads, which `query` shows; it is not followed."""
    date: str | None = None
    """When the response was made, by the clock of the host (RFC 9110 §6.6.1)."""

    @property
    def ends_with_connection(self) -> bool:
        """Whether nothing but the end of the connection ends the body (RFC 9112 §6.3)."""
        return self.length is None and not _elements(self.transfer_coding)

    @property
    def is_chunked(self) -> bool:
        """Whether the chunked transfer coding, and no other one, frames the body."""
        return _elements(self.transfer_coding) == ["chunked"]


def check_head(head: Head) -> None:
    """Raise `FetchError` if no policy can follow this head (RFC 8461 §3.2, §3.3)."""
    if head.status != 200:
        redirect = ": redirects are not followed" if head.status in REDIRECTS else ""
        raise StatusError(f"HTTP {head.status}{redirect}")
    _check_media_type(head.media_type)
    coding = _content_coding(head)
    if coding not in {"", *_WINDOWS}:
        raise MediaTypeError(f"unsupported Content-Encoding {printable(coding)!r}")
    _check_framing(head)


def check_size(size: int) -> None:
    """Raise `TooLargeError` if a body has, or is announced to have, too many bytes."""
    if size > MAX_BODY_SIZE:
        raise TooLargeError(f"more than {MAX_BODY_SIZE} bytes")


def decoded(head: Head, body: bytes) -> bytes:
    """The body without its content coding, at most `MAX_BODY_SIZE` bytes; raises `FetchError`."""
    coding = _content_coding(head)
    if not coding:
        return body
    data, rest = _inflated(coding, body, b"")
    while rest.startswith(_MEMBER):  # what else follows is ignored, as browsers do
        data, rest = _inflated(coding, rest, data)
    return data


def _inflated(coding: str, body: bytes, before: bytes) -> tuple[bytes, bytes]:
    """Decompress one stream, or one member of gzip; return it after `before`, and the rest."""
    inflater = zlib.decompressobj(_WINDOWS[coding])
    try:
        data = before + inflater.decompress(body, MAX_BODY_SIZE + 1 - len(before))
    except zlib.error:
        raise MediaTypeError(f"the body is not {coding}, which Content-Encoding says") from None
    check_size(len(data))
    if not inflater.eof:
        raise IncompleteError(f"the {coding} data broke off")
    return data, inflater.unused_data


def _check_media_type(fields: Sequence[str]) -> None:
    """Accept text/plain, also if it is repeated, as proxies and scripts do (RFC 9110 §8.3)."""
    if not fields:
        raise MediaTypeError("no Content-Type header")
    found = ", ".join(fields)
    # Parameters are ignored, including charset: it must never select a codec.
    parts = _QUOTED.sub("", found).split(",")
    types = {part.partition(";")[0].strip(" \t").lower() for part in parts}
    if types - {""} != {"text/plain"}:
        raise MediaTypeError(f"Content-Type is not text/plain: {printable(found)!r}")


def _check_framing(head: Head) -> None:
    codings = _elements(head.transfer_coding)
    if codings and not head.is_chunked:
        raise MediaTypeError(f"unsupported Transfer-Encoding {printable(', '.join(codings))!r}")
    check_size(head.length or 0)


def _content_coding(head: Head) -> str:
    """The codings in effect: browsers ignore names that are none, such as `utf-8`."""
    return ", ".join(name for name in _elements(head.content_coding) if name in _CODINGS)


def _elements(fields: Sequence[str]) -> list[str]:
    """The elements of a list in lower case, without empty ones (RFC 9110 §5.6.1.2)."""
    elements = (each.strip(" \t").lower() for each in ",".join(fields).split(","))
    return [each for each in elements if each]
