"""The steps of one GET so far, which explain how it ended.

Values only; `https` and `http_response` fill them in. All text in them is printable.
"""

import ssl
from dataclasses import dataclass
from typing import Any

from postfix_mta_sts.mtasts.errors import printable


@dataclass(frozen=True, slots=True)
class Certificate:
    """The contents of a verified certificate, as printable text."""

    names: tuple[str, ...]
    """The subject alternative names, each as `DNS:mta-sts.example.com`."""
    issuer: str
    not_after: str


@dataclass(slots=True)
class FetchTrace:
    """The steps of a GET, as printable text; None for steps that were not reached."""

    url: str | None = None
    address: str | None = None
    """The connected address, or the last one tried; behind a proxy, the proxy's."""
    tls_version: str | None = None
    certificate: Certificate | None = None
    """Recorded only if the caller of `PolicyFetcher.fetch_body` passes a trace."""
    status: int | None = None
    media_type: str | None = None
    location: str | None = None
    """Where a redirect leads; cut if it is long."""
    date: str | None = None
    """The field Date of the response."""
    size: int | None = None
    """Bytes of the body received so far."""

    @property
    def phase(self) -> str:
        """The step that was running when the GET timed out."""
        if self.status is not None:
            return f"{self.size or 0} bytes of the body received"
        if self.tls_version is not None:
            return "no response"
        if self.address is not None:
            return f"no TLS connection to {self.address}"
        return "host name not resolved"


def certificate(session: ssl.SSLObject) -> Certificate:
    """The peer's certificate of a TLS session."""
    fields: Any = session.getpeercert()  # typeshed does not describe its shape
    issuer = [value for part in fields["issuer"] for _, value in part]
    return Certificate(
        names=tuple(printable(f"{kind}:{name}") for kind, name in fields.get("subjectAltName", ())),
        issuer=printable(", ".join(issuer)),
        not_after=printable(fields["notAfter"]),
    )
