"""Compare names with a certificate, as OpenSSL does it for Postfix (X509_check_host(3)).

Pure. Postfix sets X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, no other flag.
"""

import re
from collections.abc import Sequence
from typing import Final

from postfix_mta_sts.network.smtp.values import Certificate, Identity

_LABEL: Final = "[A-Za-z0-9](?:-*[A-Za-z0-9])*"
_WILDCARD: Final = re.compile(rf"\*((?:\.{_LABEL}){{2,}})")
"""A star as the whole left-most label, and at least two more labels without a hyphen at their ends.

OpenSSL compares any other name with a star literally.
"""
_COVERED: Final = re.compile(r"[A-Za-z0-9-]+|\*")
"""What a star stands for: one label, or a star."""


def identity(references: Sequence[str], certificate: Certificate) -> Identity:
    """How a certificate fits the best of some names, each as in `matches_dns_name`.

    The common name counts only in a certificate without DNS names.
    """
    if any(matches_dns_name(r, name) for r in references for name in certificate.dns_names):
        return Identity.FITS
    name = certificate.common_name
    if name is not None and any(matches_dns_name(reference, name) for reference in references):
        return Identity.COMMON_NAME
    return Identity.DIFFERS


def matches_dns_name(reference: str, presented: str) -> bool:
    """Whether a name of a certificate fits a reference: `x.test`, or `.x.test` for any subdomain.

    The case of ASCII letters does not matter. Wildcards count in the presented name only; under
    `.x.test` they are plain text, so that `*.x.test` fits it, and `*.test` does not.
    """
    if not (reference.isascii() and presented.isascii()) or "\0" in presented:
        return False
    name, pattern = reference.lower(), presented.lower()
    if len(name) > 1 and name.startswith("."):
        return pattern.endswith(name)
    if wildcard := _WILDCARD.fullmatch(pattern):
        covered = name.removesuffix(wildcard[1])
        return covered != name and _COVERED.fullmatch(covered) is not None
    return bool(name) and pattern == name
