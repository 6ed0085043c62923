"""What the TXT records of MTA-STS and of TLSRPT have in common (RFC 8461 §3.1, RFC 8460 §3).

Both begin with a version, and go on with fields between semicolons. `record` and `tlsrpt_record`
know which fields there are.
"""

import re
from collections.abc import Sequence
from typing import Final

from postfix_mta_sts.mtasts.errors import InvalidRecordError, NoRecordError, printable

#   text-record = version 1*(field-delim field) [field-delim]
#   field-delim = *WSP ";" *WSP
#   extension   = ext-name "=" ext-value
#   ext-name    = (ALPHA / DIGIT) *31(ALPHA / DIGIT / "_" / "-" / ".")
#   ext-value   = 1*(%x21-3A / %x3C / %x3E-7E)
EXTENSION: Final = re.compile(rb"([A-Za-z0-9][A-Za-z0-9_.-]{0,31})=([\x21-\x3a\x3c\x3e-\x7e]+)")
"""A field of any name: the name, and the value."""


def fields_of(texts: Sequence[bytes], version: bytes) -> list[bytes]:
    """Return the fields after the version of the one record that begins with it.

    `version` is such as `v=STSv1`. Raises `NoRecordError` if no text begins with it and a
    delimiter, and `InvalidRecordError` if several do.
    """
    found, *fields = _split(only_record(texts, version))
    if found != version:  # such as v=STSv12: the RFC discards it, and it may be a later version
        raise _no_record(texts, version)
    return fields


def only_record(texts: Sequence[bytes], version: bytes) -> bytes:
    """Return the one record that begins with a version; see `fields_of` for what is raised."""
    # "If multiple TXT records are returned, records that do not begin with 'v=STSv1;' are
    # discarded": taken literally, so that "v=STSv1 ;" is accepted only if it is the only record.
    ours = texts if len(texts) == 1 else [t for t in texts if t.startswith(version + b";")]
    if not ours or (len(texts) == 1 and not ours[0].startswith(version)):
        raise _no_record(texts, version)
    if len(ours) > 1:
        wanted = version.decode("ascii")
        raise InvalidRecordError(
            f"{len(ours)} TXT records begin with {wanted} (only one is allowed)"
        )
    return ours[0]


def _no_record(texts: Sequence[bytes], version: bytes) -> NoRecordError:
    wanted = version.decode("ascii")
    return NoRecordError(f"no TXT record that begins with {wanted};{_near_miss(texts, version)}")


def _near_miss(texts: Sequence[bytes], version: bytes) -> str:
    """Say which character of a record is wrong that is nearly one of ours."""
    wanted = version + b";"
    begins = version[:5].lower(), version[2:7].lower()  # with and without "v="
    for text in texts:
        if re.sub(rb"[\s\"']", b"", text[:20])[:5].lower() in begins:
            pairs = enumerate(zip(wanted, text.ljust(len(wanted), b" "), strict=False), 1)
            place = next(place for place, (right, given) in pairs if right != given)
            found = text[place - 1 : place]
            wrong = f"'{printable(found)}'" if found else "missing"
            begin = printable(text[: len(wanted)])
            right = wanted[place - 1 : place].decode()
            return f" ('{begin}': character {place} is {wrong}, not '{right}')"
    return ""


def _split(text: bytes) -> list[bytes]:
    # No regular expression: one for *WSP ";" *WSP takes quadratic time on a long run of WSP.
    head, *rest = text.split(b";")
    if not rest:
        return [head]
    *middle, last = rest
    parts = [head.rstrip(b" \t"), *(field.strip(b" \t") for field in middle)]
    last = last.lstrip(b" \t")
    return [*parts, last] if last else parts  # [field-delim] at the end
