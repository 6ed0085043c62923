"""The datagrams of the collector, tlsrpt-collectd: one for each session. Pure.

Their form is that of libtlsrpt 0.5, with which Postfix 3.10 writes to the same socket. It has a
version (`dpv`) and is not documented as an interface, so this is the only file that knows it. The
collector adds up datagrams with the same policy: what differs from one session to the next of a
domain belongs into the details.
"""

import json
from typing import Final

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import ResultType
from postfix_mta_sts.mtasts.policy import POLICY_PATH
from postfix_mta_sts.mtasts.session_failure import PolicyType, SessionFailure

VERSION: Final = "1"
LIMIT: Final = 16 * 1024
"""Bytes of a datagram; a TLSRPT record in DNS can be 64 KiB long."""
_TYPES: Final = {PolicyType.TLSA: 1, PolicyType.STS: 2}
_CODES: Final = {
    ResultType.FETCH_ERROR: 301,
    ResultType.POLICY_INVALID: 302,
    ResultType.WEBPKI_INVALID: 303,
    ResultType.DNSSEC_INVALID: 305,
}


def datagram(domain: Domain, record: str, failure: SessionFailure) -> bytes | None:
    """The datagram for a session that failed; None: it would be longer than `LIMIT`.

    `record`: the TLSRPT record of the domain, as it is published.
    """
    details: dict[str, int | str] = {"c": _CODES[failure.result], "f": failure.reason}
    if failure.policy_type is PolicyType.STS:
        details["a"] = f"https://mta-sts.{domain}{POLICY_PATH}"
    policy = {
        "policy-type": _TYPES[failure.policy_type],
        "policy-domain": domain,
        "f": 1,
        "t": 1,
        "failure-details": [details],
    }
    content = {"dpv": VERSION, "d": domain, "pr": record, "policies": [policy]}
    encoded = json.dumps(content, separators=(",", ":")).encode("ascii")
    return encoded if len(encoded) <= LIMIT else None
