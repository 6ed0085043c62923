"""Mistakes in the TXT record of `_smtp._tls.` (RFC 8460 §3)."""

import re
from collections.abc import Iterator
from typing import Final

from postfix_mta_sts.mtasts.mistakes.names import NEAR_TLSRPT
from postfix_mta_sts.mtasts.mistakes.repair import Repair, Wrong
from postfix_mta_sts.mtasts.mistakes.txt import (
    COMMON,
    Kind,
    find_in_texts,
    is_good,
    version_repairs,
)
from postfix_mta_sts.mtasts.mistakes.values import Mistake, Place, Seen
from postfix_mta_sts.mtasts.tlsrpt_record import parse_tlsrpt, tlsrpt_name

_VERSION: Final = "v=TLSRPTv1"
_HAS_VERSION = re.compile(r"\bv\s*[=:]\W*(?:smtp[-_]?)?tls-?rp?t?", re.IGNORECASE)
_IS_MEANT = re.compile(
    rf"{_HAS_VERSION.pattern}|^\W*tls-?rp?t?[-_]?v?[0-9]|^\W*ru[af]\s*[=:]", re.IGNORECASE
)
_ADDRESS = r"[A-Za-z0-9._+-]+@[A-Za-z0-9.-]+"
_REPAIRS: Final = (
    *COMMON,
    *version_repairs(_VERSION, "ru[af]"),
    Repair("field-case", "a name in capitals", re.compile(r";\s*(?!rua)[Rr][Uu][Aa]="), "; rua="),
    Repair("ruf", "ruf in place of rua", re.compile(r";\s*ruf="), "; rua="),
    Repair("brackets", "angle brackets around an address", re.compile(r"[<>]"), ""),
    Repair(
        "rua-semicolon",
        "a semicolon between two addresses, which a comma separates",
        re.compile(r";\s*(?=mailto:|https:)"),
        ",",
    ),
    Repair("rua-size", "a size after an address", re.compile(r"![0-9]+[kmgt]?", re.IGNORECASE), ""),
    Repair(
        "rua-slashes",
        "slashes or blanks after mailto",
        re.compile(r"\bmailto:(?://+\s*|\s+)", re.IGNORECASE),
        "mailto:",
    ),
    Repair(
        "rua-no-mailto",
        "a mail address without the scheme mailto",
        re.compile(rf"((?:;\s*rua=|,)\s*)(?={_ADDRESS}(?:\s*[,;]|\s*$))"),
        r"\1mailto:",
    ),
    Repair(
        "rua-http",
        "http in place of https",
        re.compile(r"\bhttp:(?=//)", re.IGNORECASE),
        "https:",
    ),
    Repair(
        "rua-no-https",
        "a URL without the scheme https",
        re.compile(
            r"((?:;\s*rua=|,)\s*)(?:https?:/*)?(?=[a-z0-9-]+(?:\.[a-z0-9-]+)+(?:[/,;\s]|$))"
        ),
        r"\1https://",
    ),
)
_RUA = re.compile(r";\s*(rua=[^;]*)")


def find_tlsrpt_mistakes(seen: Seen) -> Iterator[Mistake]:
    """Yield the mistakes of the TLSRPT record, and the places where it is not looked for."""
    kind = Kind(
        place=Place.TLSRPT,
        prefix="tlsrpt",
        name=tlsrpt_name(seen.domain),
        version=_VERSION,
        is_meant=_IS_MEANT,
        has_version=_HAS_VERSION,
        repairs=_REPAIRS,
        complete=lambda text: _complete(text, seen.domain),
        parse=parse_tlsrpt,
        fields=_rua_for(seen.domain),
        near=NEAR_TLSRPT,
    )
    yield from find_in_texts(seen, seen.tlsrpt, kind)


def _complete(text: str, domain: str) -> tuple[list[Wrong], str]:
    """Check rua; if it cannot be mended, the address is one that the domain may have."""
    found = _RUA.search(text)
    if not found:
        return [Wrong("no-rua", "no rua field")], f"{_VERSION}; {_rua_for(domain)};"
    if is_good([text.encode("ascii", "replace")], parse_tlsrpt):
        return [], text
    alone = f"{_VERSION}; {found[1].strip()};"
    if is_good([alone.encode("ascii", "replace")], parse_tlsrpt):
        return [Wrong("field", "a field that is not name=value")], alone
    wrong = Wrong("rua", "rua is not a list of mailto: and https: URIs")
    return [wrong], f"{_VERSION}; {_rua_for(domain)};"


def _rua_for(domain: str) -> str:
    return f"rua=mailto:tlsrpt@{domain}"
