"""Recognise what administrators of other domains mistype, and say which line to write instead.

Pure. The parsers refuse such input, or read it as something else than was meant; this module looks
at the same texts once more, and at names where a record was put by mistake.
"""

import enum

from postfix_mta_sts.values import Value


class Place(enum.StrEnum):
    """Where a mistake is."""

    RECORD = "record"
    """The TXT record of `_mta-sts`."""
    POLICY = "policy"
    """The policy file."""
    POLICY_HOST = "policy-host"
    """The web server: certificate, redirect, path, media type."""
    TLSRPT = "tlsrpt"
    """The TXT record of `_smtp._tls`."""
    MX = "mx"
    """The MX records."""


class Mistake(Value, frozen=True):
    """One mistake of the other side. All text is one line of printable ASCII."""

    code: str
    """The stable name of the kind of mistake, such as `misspelt-mx`."""
    place: Place
    found: str
    """What is there."""
    write: str
    """What to write or to do instead: a line of a file or of a zone where there is one."""
