"""Parse the TXT RRset of `_mta-sts.<Policy Domain>` to the policy id (RFC 8461 §3.1).

The input is one item of bytes per record, with its character-strings joined. `network.dns` queries
the records.
"""

import re
from collections.abc import Sequence
from typing import Final, NewType

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import InvalidRecordError, printable
from postfix_mta_sts.mtasts.txt_record import EXTENSION, fields_of

PolicyId = NewType("PolicyId", str)
"""1 to 32 ASCII letters and digits; opaque, without an order (RFC 8461 §3.1)."""

#   sts-text-record = sts-version 1*(sts-field-delim sts-field) [sts-field-delim]
#   sts-version     = %s"v=STSv1"
#   sts-id          = %s"id=" 1*32(ALPHA / DIGIT)
VERSION: Final = b"v=STSv1"
_ID = re.compile(r"[A-Za-z0-9]{1,32}")


def record_name(domain: Domain) -> str:
    """Return the name of the TXT record of a Policy Domain, without the final dot (§3.1)."""
    return f"_mta-sts.{domain}"


def parse_records(texts: Sequence[bytes]) -> PolicyId:
    """Return the policy id in an RRset of `texts`.

    Raises `NoRecordError` if no text is an MTA-STS record, and `InvalidRecordError` if there are
    several such records or the only one is malformed (§3.1).
    """
    found: dict[bytes, bytes] = {}
    for field in fields_of(texts, VERSION):
        match = EXTENSION.fullmatch(field)
        if not match:
            raise InvalidRecordError(f"malformed field '{printable(field)}'")
        found.setdefault(match[1], match[2])  # "all entries except for the first ... ignored"
    if b"id" not in found:
        raise InvalidRecordError("no id field")
    return parse_id(found[b"id"].decode("ascii"))


def parse_id(text: str) -> PolicyId:
    """Return `text` as a policy id; raise `InvalidRecordError` if it is not one (§3.1)."""
    if not _ID.fullmatch(text):
        letters = re.sub(r"[^A-Za-z0-9]", "", text)[:32]
        hint = f"; write {letters}" if letters else ""
        found = f"'{printable(text)}'{hint}"
        raise InvalidRecordError(f"id is not 1 to 32 letters and digits: {found}")
    return PolicyId(text)
