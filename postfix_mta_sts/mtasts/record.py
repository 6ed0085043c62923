"""The TXT RRset of `_mta-sts.<Policy Domain>` → the policy id (RFC 8461 §3.1).

Border: what the DNS answered comes in as bytes, one item a record, its character-strings joined;
how it was asked is no matter of this file.
"""

import re
from collections.abc import Sequence
from typing import NewType

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import InvalidRecordError, NoRecordError, printable

PolicyId = NewType("PolicyId", str)
"""1 to 32 ASCII letters and digits; opaque and without order (RFC 8461 §3.1)."""

#   sts-text-record = sts-version 1*(sts-field-delim sts-field) [sts-field-delim]
#   sts-field-delim = *WSP ";" *WSP
#   sts-version     = %s"v=STSv1"
#   sts-id          = %s"id=" 1*32(ALPHA / DIGIT)
#   sts-extension   = sts-ext-name "=" sts-ext-value
#   sts-ext-name    = (ALPHA / DIGIT) *31(ALPHA / DIGIT / "_" / "-" / ".")
#   sts-ext-value   = 1*(%x21-3A / %x3C / %x3E-7E)
_FIELD = re.compile(rb"([A-Za-z0-9][A-Za-z0-9_.-]{0,31})=([\x21-\x3a\x3c\x3e-\x7e]+)")
_ID = re.compile(r"[A-Za-z0-9]{1,32}")
_VERSION = b"v=STSv1"


def record_name(domain: Domain) -> str:
    """The name at which a Policy Domain's record stands, without the final dot (§3.1)."""
    return f"_mta-sts.{domain}"


def parse_records(texts: Sequence[bytes]) -> PolicyId:
    """The policy id that an RRset of `texts` announces.

    Raises `NoRecordError` where nothing in it claims to be a record of ours, and
    `InvalidRecordError` where there are several or the one is malformed (§3.1).
    """
    # "If multiple TXT records are returned, records that do not begin with 'v=STSv1;' are
    # discarded": to the letter, so the blank of "v=STSv1 ;" is taken only of a sole record.
    ours = texts if len(texts) == 1 else [t for t in texts if t.startswith(_VERSION + b";")]
    if not ours or (len(texts) == 1 and not ours[0].startswith(_VERSION)):
        raise NoRecordError("no TXT record that begins with v=STSv1;")
    if len(ours) > 1:
        raise InvalidRecordError(f"{len(ours)} TXT records that begin with v=STSv1;")
    return _parse_record(ours[0])


def parse_id(text: str) -> PolicyId:
    """The policy id that a value of `id` is; raises `InvalidRecordError` (§3.1)."""
    if not _ID.fullmatch(text):
        raise InvalidRecordError(f"id is not 1 to 32 letters and digits: '{printable(text)}'")
    return PolicyId(text)


def _parse_record(text: bytes) -> PolicyId:
    version, *fields = _split(text)
    if version != _VERSION:
        raise InvalidRecordError(f"the version is not v=STSv1: '{printable(version)}'")
    found: dict[bytes, bytes] = {}
    for field in fields:
        match = _FIELD.fullmatch(field)
        if not match:
            raise InvalidRecordError(f"malformed field '{printable(field)}'")
        found.setdefault(match[1], match[2])  # "all entries except for the first ... ignored"
    if b"id" not in found:
        raise InvalidRecordError("no id field")
    return parse_id(found[b"id"].decode("ascii"))


def _split(text: bytes) -> list[bytes]:
    # Not by a regular expression: one for *WSP ";" *WSP takes quadratic time over a run of WSP.
    head, *rest = text.split(b";")
    if not rest:
        return [head]
    *middle, last = rest
    parts = [head.rstrip(b" \t"), *(field.strip(b" \t") for field in middle)]
    last = last.lstrip(b" \t")
    return [*parts, last] if last else parts  # [sts-field-delim] at the end
