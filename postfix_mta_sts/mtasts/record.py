"""Parse the TXT RRset of `_mta-sts.<Policy Domain>` to the policy id (RFC 8461 §3.1).

The input is one item of bytes per record, with its character-strings joined. `network.dns` queries
the records.
"""

import re
from collections.abc import Sequence
from typing import NewType

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import InvalidRecordError, NoRecordError, printable

PolicyId = NewType("PolicyId", str)
"""1 to 32 ASCII letters and digits; opaque, without an order (RFC 8461 §3.1)."""

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
    """Return the name of the TXT record of a Policy Domain, without the final dot (§3.1)."""
    return f"_mta-sts.{domain}"


def parse_records(texts: Sequence[bytes]) -> PolicyId:
    """Return the policy id in an RRset of `texts`.

    Raises `NoRecordError` if no text is an MTA-STS record, and `InvalidRecordError` if there are
    several such records or the only one is malformed (§3.1).
    """
    # "If multiple TXT records are returned, records that do not begin with 'v=STSv1;' are
    # discarded": taken literally, so that "v=STSv1 ;" is accepted only if it is the only record.
    ours = texts if len(texts) == 1 else [t for t in texts if t.startswith(_VERSION + b";")]
    if not ours or (len(texts) == 1 and not ours[0].startswith(_VERSION)):
        raise NoRecordError(f"no TXT record that begins with v=STSv1;{_near_miss(texts)}")
    if len(ours) > 1:
        raise InvalidRecordError(
            f"{len(ours)} TXT records begin with v=STSv1 (only one is allowed)"
        )
    return _parse_record(ours[0])


def _near_miss(texts: Sequence[bytes]) -> str:
    """Say which character of a record is wrong that is nearly one of ours."""
    wanted = _VERSION + b";"
    for text in texts:
        if re.sub(rb"[\s\"']", b"", text[:20])[:5].lower() in {b"v=sts", b"stsv1"}:
            pairs = enumerate(zip(wanted, text.ljust(len(wanted), b" "), strict=False), 1)
            place = next(place for place, (right, given) in pairs if right != given)
            found = text[place - 1 : place]
            wrong = f"'{printable(found)}'" if found else "missing"
            begin = printable(text[: len(wanted)])
            right = wanted[place - 1 : place].decode()
            return f" ('{begin}': character {place} is {wrong}, not '{right}')"
    return ""


def parse_id(text: str) -> PolicyId:
    """Return `text` as a policy id; raise `InvalidRecordError` if it is not one (§3.1)."""
    if not _ID.fullmatch(text):
        letters = re.sub(r"[^A-Za-z0-9]", "", text)[:32]
        hint = f"; write {letters}" if letters else ""
        found = f"'{printable(text)}'{hint}"
        raise InvalidRecordError(f"id is not 1 to 32 letters and digits: {found}")
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
    # No regular expression: one for *WSP ";" *WSP takes quadratic time on a long run of WSP.
    head, *rest = text.split(b";")
    if not rest:
        return [head]
    *middle, last = rest
    parts = [head.rstrip(b" \t"), *(field.strip(b" \t") for field in middle)]
    last = last.lstrip(b" \t")
    return [*parts, last] if last else parts  # [sts-field-delim] at the end
