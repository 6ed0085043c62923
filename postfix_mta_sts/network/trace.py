"""What has been seen of one GET so far, for whoever asks why it ended as it did.

Border: values only. Who fetches fills them in, and all text in them is printable.
"""

import ssl
from dataclasses import dataclass
from typing import Any

from postfix_mta_sts.mtasts.errors import printable


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate that has been found good says, as printable text."""

    names: tuple[str, ...]
    """The subject alternative names, each as `DNS:mta-sts.example.com`."""
    issuer: str
    not_after: str


@dataclass(slots=True)
class FetchTrace:
    """The steps of a GET, as printable text; None for those that were not reached."""

    url: str | None = None
    address: str | None = None
    """The address connected to, or last tried; the proxy's where there is one."""
    tls_version: str | None = None
    certificate: Certificate | None = None
    """Only where somebody has asked to see the exchange."""
    status: int | None = None
    media_type: str | None = None
    size: int | None = None
    """Bytes of the body that have come."""

    @property
    def phase(self) -> str:
        """What had not come yet when it was given up."""
        if self.status is not None:
            return f"{self.size or 0} bytes of the body had come"
        if self.tls_version is not None:
            return "no response had come"
        if self.address is not None:
            return f"no TLS connection to {self.address}"
        return "its address was not found"


def certificate(session: ssl.SSLObject) -> Certificate:
    """The certificate that the other side of a TLS session has shown."""
    facts: Any = session.getpeercert()  # typeshed knows no shape of it
    issuer = [value for part in facts["issuer"] for _, value in part]
    return Certificate(
        names=tuple(printable(f"{kind}:{name}") for kind, name in facts.get("subjectAltName", ())),
        issuer=printable(", ".join(issuer)),
        not_after=printable(facts["notAfter"]),
    )
