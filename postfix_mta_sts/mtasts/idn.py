"""U-labels become A-labels as in Postfix: UTS #46, nontransitional, without the rules of IDNA2008.

Postfix asks for the next-hop as it is written, and looks up the MX records of its A-labels, which
ICU makes with `UIDNA_NONTRANSITIONAL_TO_ASCII` and no other option: no check of bidirectional
labels, of joiners, or of characters that UTS #46 allows and IDNA2008 does not, such as emoji. A
name that is mapped to anything else here, or refused here and not there, has its mail sent without
its policy. `tests/support/idn_names.json` compares both.
"""

import unicodedata
from typing import Final

import idna

from postfix_mta_sts.mtasts.errors import InvalidDomainError, printable

LENGTH_LIMIT: Final = 1_000
"""Characters; some are mapped to nothing, so a name may be longer than its A-labels."""

_MAPPED_LIMIT: Final = 254
"""Characters of a name with its final dot; its A-labels are not shorter (RFC 1035 §3.1)."""
_CAPITAL_SHARP_S: Final = "\u1e9e"


def to_a_labels(name: str) -> str:
    """Return `name` with A-labels; ASCII is returned as it is, valid or not.

    The other labels are checked as ICU does, but the result need not be a host name. Raises
    `InvalidDomainError` if the name cannot be mapped, or not for sure.
    """
    if name.isascii():
        return name
    if len(name) > LENGTH_LIMIT:
        raise InvalidDomainError(f"longer than {LENGTH_LIMIT} characters")
    if _CAPITAL_SHARP_S in name:  # the only character that ICU 72 (Unicode 15.0) maps to another
        reason = "U+1E9E is 'ss' for Postfix with older versions of ICU: write ss or U+00DF"
        raise InvalidDomainError(f"not a domain name: {reason}")
    try:
        mapped = idna.uts46_remap(name, std3_rules=False)
    except UnicodeError as error:  # includes idna.IDNAError
        raise InvalidDomainError(f"not a domain name: {printable(str(error))}") from error
    if len(mapped) > _MAPPED_LIMIT:  # Punycode takes quadratic time
        raise InvalidDomainError(f"not a domain name: longer than {_MAPPED_LIMIT} characters")
    return ".".join(map(_to_a_label, mapped.split(".")))


def _to_a_label(label: str) -> str:
    if label.isascii():
        return label
    # The third and the fourth unit of UTF-16, as ICU counts.
    if label.encode("utf-16-be")[4:8] == b"\0-\0-" or "-" in {label[0], label[-1]}:
        raise InvalidDomainError(f"not a domain name: hyphens in '{printable(label)}'")
    if unicodedata.category(label[0]).startswith("M"):
        raise InvalidDomainError(f"not a domain name: '{printable(label)}' begins with a mark")
    return f"xn--{label.encode('punycode').decode('ascii')}"
