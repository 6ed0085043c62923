"""What `find_mistakes` looks at, and what it finds. Values only."""

import enum
from typing import Final

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.values import Value

NEXT_LINE: Final = " / "
"""Between the lines of `Mistake.write`."""


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
    """What to write or to do instead: a line of a file or of a zone where there is one; several
    lines have `NEXT_LINE` between them."""


class Texts(Value, frozen=True):
    """The TXT records at a name."""

    name: str
    """Without the final dot."""
    texts: tuple[bytes, ...]
    """One item for each record, its character-strings joined; empty: there is none."""
    aliases: tuple[str, ...] = ()
    """The CNAME chain from the name on, without the name itself."""


class MailName(Value, frozen=True):
    """The name in one MX record."""

    name: str
    """In lower case, without the final dot; empty: the null MX (RFC 7505)."""
    preference: int = 10
    aliases: tuple[str, ...] = ()
    """The CNAME chain from the name on, without the name itself."""


class Seen(Value, frozen=True):
    """All that was found of a domain, as it came from the network. None: it is not known."""

    domain: Domain
    record: Texts | None = None
    """At `_mta-sts.`."""
    tlsrpt: Texts | None = None
    """At `_smtp._tls.`."""
    near: tuple[Texts, ...] = ()
    """At the names of `near_names`."""
    mx: tuple[MailName, ...] | None = None
    """The MX records; empty: there are none, so that the domain is its own host."""
    body: bytes | None = None
    """The policy file, or what the Policy Host sent in its place."""
    status: int | None = None
    """The HTTP status."""
    media_type: str | None = None
    """Content-Type; empty: the response has none."""
    location: str | None = None
    """Location, the target of a redirect."""
    near_path: str | None = None
    """A path at which the Policy Host has the file, if it is not at the right one."""
    certificate_error: str | None = None
    """OpenSSL's text for the certificate of the Policy Host, if that is not valid."""
    certificate_names: tuple[str, ...] = ()
    """The names in that certificate."""
    host_exists: bool | None = None
    """Whether the Policy Host's name has an address."""
