"""The errors that can occur between a Policy Domain and its policy, as a small tree.

    MtaStsError
    ├── InvalidDomainError            not a domain name; nothing is looked up
    ├── CannotProbeError              this machine cannot talk to mail servers; no look-up needs it
    ├── DiscoveryError                the DNS gave no policy id (RFC 8461 §3.1)
    │   ├── NoRecordError                 the DNS says that there is no record
    │   ├── InvalidRecordError            there are records, but not one valid one
    │   ├── DnsFailureError               the DNS did not say: SERVFAIL, REFUSED, no answer
    │   └── OwnFaultError                 an error in this program ended the attempt
    └── FetchError                    the Policy Host gave no valid policy (§3.3)
        ├── HostNotFoundError             its name has no address
        ├── ForbiddenAddressError         its address is not a public one
        ├── UnreachableError              no connection: refused, no route, reset
        ├── DeadlineError                 the time for the whole GET is over
        ├── TlsError                      no TLS session, for another reason than:
        ├── CertificateError              the certificate is not valid (PKIX)
        ├── StatusError                   any status but 200, including redirects
        ├── MediaTypeError                not text/plain, or an unknown compression
        ├── TooLargeError                 a body of more than 64 KiB, or endless framing
        ├── IncompleteError               the HTTP message is truncated or may be
        └── InvalidPolicyError            retrieved, but not valid (§3.2)

For the caller they all mean the same: an unexpired cached policy stays in force; without one the
domain is treated as though it had no policy (RFC 8461 §3.3). Only `DnsFailureError` leaves open
whether there is a policy; the administrator may choose to defer mail in that case.

`str(error)` is the reason, for people: one line of printable ASCII. Text from the network is passed
through `printable` first.
"""

import enum
from typing import ClassVar

from postfix_mta_sts.errors import UserError


class ResultType(enum.StrEnum):
    """The result types of RFC 8460 §4.3 for what could not be obtained: a policy, TLSA records."""

    FETCH_ERROR = "sts-policy-fetch-error"
    POLICY_INVALID = "sts-policy-invalid"
    WEBPKI_INVALID = "sts-webpki-invalid"
    DNSSEC_INVALID = "dnssec-invalid"


def printable(data: bytes | str, limit: int = 200) -> str:
    """Return text from the network as one line of printable ASCII, cut to `limit` characters."""
    text = data.decode("ascii", "backslashreplace") if isinstance(data, bytes) else data
    cut = text if len(text) <= limit else text[: limit - 3] + "..."
    if cut.isascii() and cut.isprintable():
        return cut
    return "".join(
        c if " " <= c <= "~" else c.encode("unicode_escape", "backslashreplace").decode()
        for c in cut
    )[: 4 * limit]


class MtaStsError(Exception):
    """Root of the tree; `code` is the stable name of the error for programs."""

    code: ClassVar[str]


class InvalidDomainError(MtaStsError, UserError):
    """The text is not a domain name (RFC 5321 §4.1.2), or is an IP address."""

    code = "invalid-domain"


class CannotProbeError(MtaStsError):
    """Mail servers cannot be probed: a library is missing, or the CA file cannot be used."""

    code = "cannot-probe"


class DiscoveryError(MtaStsError):
    """The DNS gave no policy id."""

    result: ClassVar[ResultType] = ResultType.FETCH_ERROR


class NoRecordError(DiscoveryError):
    """The DNS says that there is no such record: `_mta-sts`, or `_smtp._tls` (RFC 8460 §3)."""

    code = "no-record"

    def __init__(self, reason: str, aliases: tuple[str, ...] = ()) -> None:
        super().__init__(reason)
        self.aliases = aliases
        """The CNAME chain that led to nothing, without the name that was asked for."""


class InvalidRecordError(DiscoveryError):
    """There are TXT records, but not exactly one valid record of the kind among them."""

    code = "invalid-record"
    result = ResultType.POLICY_INVALID


class DnsFailureError(DiscoveryError):
    """The DNS did not say whether there is a record."""

    code = "dns-failure"


class OwnFaultError(DiscoveryError):
    """An error in this program ended the attempt; its traceback is in the log."""

    code = "own-fault"


class FetchError(MtaStsError):
    """The Policy Host gave no valid policy."""

    result: ClassVar[ResultType] = ResultType.FETCH_ERROR


class HostNotFoundError(FetchError):
    """The Policy Host's name has no address."""

    code = "host-not-found"


class ForbiddenAddressError(FetchError):
    """The Policy Host's address is loopback, private, link-local or otherwise not global."""

    code = "forbidden-address"


class UnreachableError(FetchError):
    """No connection to the Policy Host: refused, no route, reset."""

    code = "unreachable"


class DeadlineError(FetchError):
    """The policy had not arrived when the time for the whole GET was over (§3.3)."""

    code = "timeout"


class TlsError(FetchError):
    """The TLS handshake failed for another reason than the certificate."""

    code = "tls"


class CertificateError(FetchError):
    """The Policy Host's certificate is expired, untrusted or for another name (§3.3)."""

    code = "certificate"
    result = ResultType.WEBPKI_INVALID


class StatusError(FetchError):
    """The HTTP status is not 200; redirects are never followed (§3.3)."""

    code = "status"


class MediaTypeError(FetchError):
    """The media type is not text/plain (§3.2), or the body has a coding that is not supported."""

    code = "media-type"
    result = ResultType.POLICY_INVALID


class TooLargeError(FetchError):
    """The body is larger than 64 KiB (§3.3), or the whole response than 256 KiB."""

    code = "too-large"


class IncompleteError(FetchError):
    """The HTTP message is truncated, or a truncation would go unnoticed (RFC 9112 §8)."""

    code = "incomplete"


class InvalidPolicyError(FetchError):
    """The policy file is not valid (§3.2); `line` counts from 1, 0 means the whole file."""

    code = "invalid-policy"
    result = ResultType.POLICY_INVALID

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}" if line else reason)
        self.line = line
