"""Parse the TXT RRset of `_smtp._tls.<Policy Domain>` to the places for TLS reports (RFC 8460 §3).

The input is as that of `record`. `query` shows where reports would go;
`postfix.tlsrpt` tells the collector.
"""

import re
from collections.abc import Sequence
from typing import Final

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import InvalidRecordError, printable
from postfix_mta_sts.mtasts.txt_record import EXTENSION, fields_of, only_record
from postfix_mta_sts.values import Value

#   tlsrpt-record  = tlsrpt-version 1*(field-delim tlsrpt-field) [field-delim]
#   tlsrpt-field   = tlsrpt-rua / tlsrpt-extension
#   tlsrpt-version = %s"v=TLSRPTv1"
#   tlsrpt-rua     = %s"rua=" tlsrpt-uri *(*WSP "," *WSP tlsrpt-uri)
#   tlsrpt-uri     = URI     ; commas, exclamation points and semicolons in it MUST be encoded
TLSRPT_VERSION: Final = b"v=TLSRPTv1"
_RUA: Final = b"rua="

# RFC 3986 without "!", "," and ";":
#   mailto-uri = "mailto:" path-rootless [ "?" query ] [ "#" fragment ]
#   https-uri  = "https://" authority path-abempty [ "?" query ] [ "#" fragment ]
# pchar is one of unreserved, pct-encoded, sub-delims, ":" and "@".
# RFC 6068 allows a mailto without an address, but a report needs one; it has no "/" (§2).
_PCHAR = r"(?:[A-Za-z0-9._~$&'()*+=:@-]|%[0-9A-Fa-f]{2})"
_TAIL = rf"(?:\?(?:{_PCHAR}|[/?])*+)?(?:#(?:{_PCHAR}|[/?])*+)?"
_MAILTO = re.compile(rf"(?i:mailto):(?:(?!@){_PCHAR})++@{_PCHAR}++{_TAIL}")
_HTTPS = re.compile(
    r"(?i:https)://(?:[A-Za-z0-9._~$&'()*+=:@-]|%[0-9A-Fa-f]{2}|\[[0-9A-Fa-f:.]+\])++"
    rf"(?:/(?:{_PCHAR}|/)*+)?{_TAIL}"
)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_SUPPORTED: Final = {"mailto": _MAILTO, "https": _HTTPS}


class TlsrptRecord(Value, frozen=True):
    """A valid TLSRPT record."""

    rua: tuple[str, ...]
    """The `mailto:` and `https:` URIs in the order of the record, at least one."""
    text: str
    """The whole record as it is published: ASCII without control characters but HTAB."""


class FoundTlsrpt(Value, frozen=True):
    """A record, and its TTL in seconds."""

    record: TlsrptRecord
    ttl: int


def tlsrpt_name(domain: Domain) -> str:
    """Return the name of the TLSRPT record of a domain, without the final dot (RFC 8460 §3)."""
    return f"_smtp._tls.{domain}"


def parse_tlsrpt(texts: Sequence[bytes]) -> TlsrptRecord:
    """Return the record in an RRset of `texts`; URIs of other schemes are left out.

    Raises `NoRecordError` if no text is a TLSRPT record, and `InvalidRecordError` if there are
    several such records or the only one is malformed. If `rua` is repeated, the first one counts:
    the RFC does not say.
    """
    values: list[bytes] = []
    for field in fields_of(texts, TLSRPT_VERSION):
        if field.startswith(_RUA):
            values.append(field.removeprefix(_RUA))
        elif not EXTENSION.fullmatch(field):
            raise InvalidRecordError(f"malformed field '{printable(field)}'")
    if not values:
        raise InvalidRecordError("no rua field")
    return TlsrptRecord(_parse_rua(values[0]), _text_of(only_record(texts, TLSRPT_VERSION)))


def _text_of(record: bytes) -> str:
    """The record as text: a second `rua`, which is not parsed, may have any bytes."""
    if not re.fullmatch(rb"[\t -~]+", record):
        raise InvalidRecordError(f"not printable ASCII: '{printable(record)}'")
    return record.decode("ascii")


def _parse_rua(value: bytes) -> tuple[str, ...]:
    try:
        text = value.decode("ascii")
    except UnicodeDecodeError:
        raise InvalidRecordError(f"rua is not ASCII: '{printable(value)}'") from None
    uris = [uri.strip(" \t") for uri in text.split(",")]
    supported = tuple(uri for uri in uris if _is_supported(uri))
    if not supported:
        raise InvalidRecordError(f"rua has neither mailto: nor https: '{printable(text)}'")
    return supported


def _is_supported(uri: str) -> bool:
    """Whether reports may go there; raises `InvalidRecordError` if it is no URI."""
    scheme = _SCHEME.match(uri)
    if not scheme or not re.fullmatch(r"[!-~]+", uri) or "!" in uri:
        raise InvalidRecordError(f"rua is not a URI: '{printable(uri)}'")
    form = _SUPPORTED.get(scheme[1].lower())
    if form and not form.fullmatch(uri):
        raise InvalidRecordError(f"rua is not a valid {scheme[1].lower()}: '{printable(uri)}'")
    return form is not None
