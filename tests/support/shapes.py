"""Responses as hosting services send them, and odd ones: a table of docs/policy-hosts.md."""

import gzip
import re
from dataclasses import dataclass
from typing import Final

from tests.support.policy_host import Script, policy_text, without_close_notify

_POLICY: Final = policy_text()
_GZIP: Final = gzip.compress(_POLICY)
_MEMBERS: Final = gzip.compress(_POLICY[:40]) + gzip.compress(_POLICY[40:])
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_HINTS: Final = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"

_TYPE: Final = 'RFC 8461 §3.2: "SHOULD validate that the media type is" text/plain'
_STATUS: Final = 'RFC 8461 §3.3: "only valid if the HTTP response code is 200"'
_REDIRECT: Final = 'RFC 8461 §3.3: "HTTP 3xx redirects MUST NOT be followed"'
_GRAMMAR: Final = "RFC 8461 §3.2: the grammar begins with `version`, and lines end with LF or CRLF"
_CODING: Final = 'RFC 9110 §12.5.3: "SHOULD send a response without any content coding"'
_FRAMING: Final = 'RFC 9112 §6.3: "ought to be handled as an error"'
_LENGTH: Final = 'RFC 9112 §6.3: "MUST treat it as an unrecoverable error"'
_TRANSFER: Final = (
    'RFC 9112 §7.4: "TE" says which transfer codings besides chunked a client accepts'
)
_ONCE: Final = 'RFC 9112 §6.1: "MUST NOT apply the chunked transfer coding more than once"'
_CLOSURE: Final = 'RFC 9112 §9.8: "complete only if a valid closure alert has been received"'
_LAST_CHUNK: Final = 'RFC 9112 §8: "incomplete if the zero-sized chunk [...] has not been received"'
_FIELD: Final = "RFC 9112 §5: a field is a name without spaces, a colon, and a value"


@dataclass(frozen=True, slots=True)
class Shape:
    """One response, and the sentence because of which it is refused."""

    name: str
    answer: bytes | Script
    forbidden_by: str = ""


def result(reason: str) -> str:
    """The cell of a table for the reason of a refusal, or for the empty one.

    Without what llhttp and OpenSSL say in detail: that depends on their version.
    """
    short = re.sub(r"^(malformed HTTP|the TLS handshake failed): .*", r"\1", reason)
    return f"refused: {short}" if reason else "accepted"


def _http(*fields: str, body: bytes = _POLICY, status: str = "HTTP/1.1 200 OK") -> bytes:
    """A response without further fields."""
    return "\r\n".join([status, *fields, "", ""]).encode("latin-1") + body


def _plain(*fields: str, body: bytes = _POLICY, status: str = "HTTP/1.1 200 OK") -> bytes:
    """A response with type and length."""
    type_and_length = ("Content-Type: text/plain", f"Content-Length: {len(body)}")
    return _http(*fields, *type_and_length, body=body, status=status)


def _chunks(*fields: str, data: bytes) -> bytes:
    return _http("Content-Type: text/plain", "Transfer-Encoding: chunked", *fields, body=data)


_SIZE: Final = b"%x" % len(_POLICY)
_CHUNK_OF_ALL: Final = _SIZE + b"\r\n" + _POLICY + b"\r\n"

SERVICES: Final = [
    Shape(
        "IIS",
        _http(
            "Content-Type: text/plain",
            "Last-Modified: Mon, 02 Nov 2026 10:00:00 GMT",
            "Accept-Ranges: bytes",
            'ETag: "0a1b2c3d4e5f61:0"',
            "Server: Microsoft-IIS/10.0",
            "X-Powered-By: ASP.NET",
            f"Content-Length: {len(_POLICY)}",
        ),
    ),
    Shape(
        "IIS behind ARR, fields repeated",
        _plain("Content-Type: text/plain", "X-Powered-By: ASP.NET", "X-Powered-By: ARR/3.0"),
    ),
    Shape(
        "S3 with CloudFront",
        _plain(
            "x-amz-id-2: k9Zr/4=",
            "x-amz-server-side-encryption: AES256",
            "X-Cache: Hit from cloudfront",
            "Via: 1.1 0123456789abcdef.cloudfront.net (CloudFront)",
            "Age: 86399",
        ),
    ),
    Shape("S3, stored with gzip", _plain("Content-Encoding: gzip", body=_GZIP)),
    Shape("S3, stored with `aws-chunked,`", _plain("Content-Encoding: aws-chunked,")),
    Shape(
        "S3, stored without a type",
        _http("Content-Type: binary/octet-stream", f"Content-Length: {len(_POLICY)}"),
        _TYPE,
    ),
    Shape(
        "Cloudflare",
        _HINTS
        + _http(
            "Content-Type: text/plain; charset=utf-8",
            "Transfer-Encoding: chunked",
            "Connection: close",
            "cf-cache-status: DYNAMIC",
            'report-to: {"endpoints":[{"url":"https://a.nel.test/report/v4?s=x"}],"max_age":604800}',
            'nel: {"success_fraction":0,"report_to":"cf-nel","max_age":604800}',
            'alt-svc: h3=":443"; ma=86400',
            "Server: cloudflare",
            "CF-RAY: 0123456789abcdef-FRA",
            body=_CHUNK_OF_ALL + b"0\r\n\r\n",
        ),
    ),
    Shape(
        "Cloudflare, challenge page",
        _http(
            "Content-Type: text/html",
            "cf-mitigated: challenge",
            "Content-Length: 6",
            body=b"<html>",
            status="HTTP/1.1 403 Forbidden",
        ),
        _STATUS,
    ),
    Shape(
        "GitHub Pages",
        _http(
            "Connection: close",
            f"Content-Length: {len(_POLICY)}",
            "Server: GitHub.com",
            "Content-Type: text/plain; charset=utf-8",
            "Access-Control-Allow-Origin: *",
            "x-proxy-cache: MISS",
            "Via: 1.1 varnish",
            "X-Served-By: cache-fra-1",
            "Vary: Accept-Encoding",
        ),
    ),
    Shape(
        "Netlify",
        _http(
            "Accept-Ranges: bytes",
            'Cache-Status: "Netlify Edge"; fwd=miss',
            "Content-Type: text/plain; charset=UTF-8",
            f"Content-Length: {len(_POLICY)}",
            'Etag: "0123456789abcdef-ssl"',
            "Strict-Transport-Security: max-age=31536000",
        ),
    ),
    Shape(
        "HTTP/1.0 with a length",
        _plain("Server: SimpleHTTP/0.6", status="HTTP/1.0 200 OK"),
    ),
    Shape(
        "HTTP/1.0 without a length",
        _http("Content-Type: text/plain", status="HTTP/1.0 200 ok"),
    ),
    Shape(
        "HTTP/1.0 without a length and close_notify",
        without_close_notify(_http("Content-Type: text/plain", status="HTTP/1.0 200 OK")),
        _CLOSURE,
    ),
]

_TYPES: Final = [
    Shape("type twice", _plain("Content-Type: text/plain; charset=utf-8")),
    Shape("type twice in one field", _plain("Content-Type: text/plain, text/plain")),
    Shape("type in capitals, spaces", _plain("content-type:   Text/PLAIN ; charset = utf-8")),
    Shape("charset in quotes", _plain('Content-Type: text/plain; charset="utf-8"')),
    Shape("a quote in quotes", _plain(r'Content-Type: text/plain; x="a\", text/html"')),
    Shape(
        "charset=iso-8859-1, policy in ASCII", _plain("Content-Type: text/plain; charset=latin1")
    ),
    Shape("two different types", _plain("Content-Type: text/html"), _TYPE),
    Shape("no type", _http(f"Content-Length: {len(_POLICY)}"), _TYPE),
]

_FIELDS: Final = [
    Shape("a field of 20,000 bytes", _plain("Content-Security-Policy: " + "a" * 20_000)),
    Shape("500 fields", _plain(*(f"X-Field-{number}: y" for number in range(500)))),
    Shape("a folded field", _plain("X-Folded: a\r\n\tb")),
    Shape("bytes above ASCII in a field", _plain("X-Name: J\xfcrgen")),
    Shape("space before a colon", _plain("X-Powered-By : PHP")),
    Shape("space in a field name", _plain("X Powered By: PHP"), _FIELD),
    Shape("line without a colon", _plain("nonsense"), _FIELD),
    Shape("LF line ends in the head", _plain().replace(b"\r\n", b"\n", 3)),
    Shape("no reason phrase", _plain(status="HTTP/1.1 200")),
    Shape("`Upgrade: h2`", _plain("Upgrade: h2,h2c", "Connection: Upgrade, Keep-Alive")),
    Shape("100 Continue first", _CONTINUE + _plain()),
]

_FRAMINGS: Final = [
    Shape("length twice", _plain(f"Content-Length: {len(_POLICY)}")),
    Shape("two different lengths", _plain("Content-Length: 5"), _LENGTH),
    Shape("length and chunked", _plain("Transfer-Encoding: chunked"), _FRAMING),
    Shape("more bytes than the length", _plain() + b"\r\n\r\n"),
    Shape(
        "chunk extensions and trailers",
        _chunks(data=_SIZE + b';a="b c"\r\n' + _POLICY + b"\r\n0;x\r\nX-Trailer: y\r\n\r\n"),
    ),
    Shape(
        "zeros and spaces at a chunk size", _chunks(data=b"00" + _CHUNK_OF_ALL + b"000 \r\n\r\n")
    ),
    Shape(
        "spaces before a chunk extension",
        _chunks(data=_SIZE + b" ; a = b\r\n" + _POLICY + b"\r\n0\r\n\r\n"),
    ),
    Shape(
        "LF after a chunk size",
        _chunks(data=_SIZE + b"\n" + _POLICY + b"\n0\n\n"),
    ),
    Shape(
        "a length as a trailer",
        _chunks(data=_CHUNK_OF_ALL + b"0\r\nContent-Length: 5\r\n\r\n"),
    ),
    Shape(
        "no last chunk",
        _chunks(data=_CHUNK_OF_ALL),
        _LAST_CHUNK,
    ),
    Shape(
        "`Transfer-Encoding: chunked,`",
        _chunks(data=_CHUNK_OF_ALL + b"0\r\n\r\n").replace(b"chunked", b"chunked,"),
    ),
    Shape(
        "HTTP/1.0 with chunks",
        _chunks(data=_CHUNK_OF_ALL + b"0\r\n\r\n").replace(b"HTTP/1.1", b"HTTP/1.0"),
    ),
    Shape(
        "chunked twice",
        _chunks("Transfer-Encoding: chunked", data=_CHUNK_OF_ALL + b"0\r\n\r\n"),
        _ONCE,
    ),
    Shape(
        "gzip as a transfer coding",
        _http("Content-Type: text/plain", "Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
        _TRANSFER,
    ),
]

_CODINGS: Final = [
    Shape("`Content-Encoding: identity`", _plain("Content-Encoding: identity")),
    Shape("`Content-Encoding: utf-8`", _plain("Content-Encoding: utf-8")),
    Shape("gzip, not asked for", _plain("Content-Encoding: gzip", body=_GZIP)),
    Shape("gzip in several members", _plain("Content-Encoding: gzip", body=_MEMBERS)),
    Shape("brotli, not asked for", _plain("Content-Encoding: br", body=b"\x8b"), _CODING),
]

_BODIES: Final = [
    Shape("LF line ends", _plain(body=_POLICY.replace(b"\r\n", b"\n"))),
    Shape("both line ends", _plain(body=_POLICY.replace(b"\r\n", b"\n", 2))),
    Shape("no end of the last line", _plain(body=_POLICY.rstrip())),
    Shape("empty lines", _plain(body=b"\r\n" + _POLICY + b"\n\n")),
    Shape("lines of spaces and tabs", _plain(body=b" \t\n" + _POLICY + b"  ")),
    Shape("spaces at the end of lines", _plain(body=_POLICY.replace(b"\r\n", b" \r\n"))),
    Shape("CR line ends", _plain(body=_POLICY.replace(b"\r\n", b"\r")), _GRAMMAR),
    Shape("byte order mark", _plain(body=b"\xef\xbb\xbf" + _POLICY), _GRAMMAR),
    Shape("UTF-16", _plain(body=_POLICY.decode().encode("utf-16")), _GRAMMAR),
]

_STATUSES: Final = [
    Shape("redirect", _plain("Location: /x", status="HTTP/1.1 301 Moved Permanently"), _REDIRECT),
    Shape("203 of a proxy", _plain(status="HTTP/1.1 203 Non-Authoritative Information"), _STATUS),
    Shape("404 with a policy", _plain(status="HTTP/1.1 404 Not Found"), _STATUS),
]

SHAPES: Final = [
    *SERVICES,
    *_TYPES,
    *_FIELDS,
    *_FRAMINGS,
    *_CODINGS,
    *_BODIES,
    *_STATUSES,
]
