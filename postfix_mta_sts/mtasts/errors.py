"""What can go wrong between a Policy Domain and its policy, as one small tree.

    MtaStsError
    ├── InvalidDomainError            the text names no domain: nothing is asked
    ├── DiscoveryError                the DNS gave no policy id (RFC 8461 §3.1)
    │   ├── NoRecordError                 it says that there is none
    │   ├── InvalidRecordError            there is something, but no one valid record
    │   ├── DnsFailureError               it did not say: SERVFAIL, REFUSED, silence
    │   └── OwnFaultError                 it was not heard, for a fault of our own
    └── FetchError                    the Policy Host gave no valid policy (§3.3)
        ├── HostNotFoundError             its name has no address
        ├── ForbiddenAddressError         its address is not a public one
        ├── UnreachableError              no connection: refused, no route, reset
        ├── DeadlineError                 not done in time
        ├── TlsError                      no TLS session, for another reason than:
        ├── CertificateError              the certificate fails PKIX
        ├── StatusError                   any status but 200, redirects included
        ├── MediaTypeError                not text/plain, or encoded
        ├── TooLargeError                 more than 64 KiB
        ├── IncompleteError               the HTTP message ended before its end
        └── InvalidPolicyError            retrieved, but not valid (§3.2)

For the caller they all mean the same: an unexpired cached policy stays in force; without one
the domain is treated as though it had none (RFC 8461 §3.3). Only `DnsFailureError` leaves open
whether there is a policy at all; an administrator may choose to wait for the answer.

`str(error)` is the reason, for a person. It is one line of printable ASCII: text from the
network goes through `printable` first.
"""

import enum
from typing import ClassVar


class ResultType(enum.StrEnum):
    """The result types of RFC 8460 §4.3 that a policy's absence can have."""

    FETCH_ERROR = "sts-policy-fetch-error"
    POLICY_INVALID = "sts-policy-invalid"
    WEBPKI_INVALID = "sts-webpki-invalid"


def printable(data: bytes | str, limit: int = 200) -> str:
    """Text from the network as one line of printable ASCII, cut to `limit` characters."""
    text = data.decode("ascii", "backslashreplace") if isinstance(data, bytes) else data
    cut = text if len(text) <= limit else text[: limit - 3] + "..."
    return "".join(
        c if " " <= c <= "~" else c.encode("unicode_escape", "backslashreplace").decode()
        for c in cut
    )[: 4 * limit]


class MtaStsError(Exception):
    """Root of the tree; `code` is the failure's stable name for programs."""

    code: ClassVar[str]


class InvalidDomainError(MtaStsError):
    """The text is no domain name (RFC 5321 §4.1.2), or none that mail can be sent to."""

    code = "invalid-domain"


class DiscoveryError(MtaStsError):
    """The DNS gave no policy id."""

    result: ClassVar[ResultType] = ResultType.FETCH_ERROR


class NoRecordError(DiscoveryError):
    """The DNS says that there is no `_mta-sts` record."""

    code = "no-record"


class InvalidRecordError(DiscoveryError):
    """There are TXT records, but not exactly one valid `_mta-sts` record among them."""

    code = "invalid-record"
    result = ResultType.POLICY_INVALID


class DnsFailureError(DiscoveryError):
    """The DNS did not say whether there is a record."""

    code = "dns-failure"


class OwnFaultError(DiscoveryError):
    """An attempt ended by a fault of this program, which has its traceback in the log."""

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
    """The policy had not come when the time for the whole GET was over (§3.3)."""

    code = "timeout"


class TlsError(FetchError):
    """The TLS handshake failed before there was a certificate to judge."""

    code = "tls"


class CertificateError(FetchError):
    """The Policy Host's certificate is expired, untrusted or for another name (§3.3)."""

    code = "certificate"
    result = ResultType.WEBPKI_INVALID


class StatusError(FetchError):
    """The HTTP status is not 200; redirects are never followed (§3.3)."""

    code = "status"


class MediaTypeError(FetchError):
    """The body is not plain text as it stands: media type or content coding (§3.2)."""

    code = "media-type"
    result = ResultType.POLICY_INVALID


class TooLargeError(FetchError):
    """The body is larger than 64 KiB (§3.3)."""

    code = "too-large"


class IncompleteError(FetchError):
    """The HTTP message ended before its end, or does not say where its end is (RFC 9112 §8)."""

    code = "incomplete"


class InvalidPolicyError(FetchError):
    """The policy file is not valid (§3.2); `line` counts from 1, 0 stands for the whole file."""

    code = "invalid-policy"
    result = ResultType.POLICY_INVALID

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}" if line else reason)
        self.line = line
        self._reason = reason

    def __reduce__(self) -> tuple[type["InvalidPolicyError"], tuple[int, str]]:
        return type(self), (self.line, self._reason)
