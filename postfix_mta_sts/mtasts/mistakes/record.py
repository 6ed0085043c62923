"""Mistakes in the TXT record of `_mta-sts.` (RFC 8461 §3.1)."""

import re
from collections.abc import Iterator
from typing import Final

from postfix_mta_sts.mtasts.mistakes.names import NEAR_RECORD
from postfix_mta_sts.mtasts.mistakes.repair import Repair, Wrong
from postfix_mta_sts.mtasts.mistakes.txt import (
    COMMON,
    Kind,
    find_in_texts,
    is_good,
    version_repairs,
)
from postfix_mta_sts.mtasts.mistakes.values import Mistake, Place, Seen
from postfix_mta_sts.mtasts.record import parse_records, record_name

FIRST_ID: Final = "id=1"
"""The id for a domain that had none yet: any will do."""
_VERSION: Final = "v=STSv1"

# A version, near enough; an id in first place; a policy file, which has no version with =.
_HAS_VERSION = re.compile(r"\bv\s*[=:]\W*(?:mta[-_]?)?sts", re.IGNORECASE)
_IS_MEANT = re.compile(
    rf"{_HAS_VERSION.pattern}|^\W*(?:mta[-_]?)?sts[-_]?v?[0-9]|^\W*id\s*[=:]|^\W*v\W.*\bid\s*="
    r"|version\s*:\s*STS|\bmode\s*:\s*(?:enforce|testing|none)\b",
    re.IGNORECASE,
)
_REPAIRS: Final = (
    Repair(
        "policy",
        "the policy file as the text",
        re.compile(r"^.*(?:version\s*:\s*STS|\bmode\s*:\s*\w).*$", re.IGNORECASE | re.DOTALL),
        f"{_VERSION}; {FIRST_ID};",
    ),
    *COMMON,
    *version_repairs(_VERSION, "id"),
    Repair("field-case", "a name in capitals", re.compile(r";\s*(?:ID|Id|iD)="), "; id="),
)
_ID = re.compile(r";\s*id=([^;]*)")


def find_record_mistakes(seen: Seen) -> Iterator[Mistake]:
    """Yield the mistakes of the MTA-STS record, and the places where it is not looked for."""
    kind = Kind(
        place=Place.RECORD,
        prefix="record",
        name=record_name(seen.domain),
        version=_VERSION,
        is_meant=_IS_MEANT,
        has_version=_HAS_VERSION,
        repairs=_REPAIRS,
        complete=_complete,
        parse=parse_records,
        fields=FIRST_ID,
        near=NEAR_RECORD,
    )
    yield from find_in_texts(seen, seen.record, kind)


def _complete(text: str) -> tuple[list[Wrong], str]:
    """Check the id; other fields are extensions, of which none is known."""
    found = _ID.search(text)
    value = found[1].rstrip(" \t") if found else ""
    letters = re.sub(r"[^A-Za-z0-9]", "", value)[:32]
    better = f"{_VERSION}; {f'id={letters}' if letters else FIRST_ID};"
    if not value:
        return [Wrong("no-id", "no id field")], better
    if letters != value:
        return [Wrong("id", "the id is not 1 to 32 letters and digits")], better
    if not is_good([text.encode("ascii", "replace")], parse_records):
        return [Wrong("field", "a field that is not name=value")], better
    return [], text
