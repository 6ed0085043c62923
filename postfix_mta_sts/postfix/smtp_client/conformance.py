"""Whether RFC 8461 allows an MX host, whatever Postfix does with it (§4.1, §4.2)."""

from typing import Final

from postfix_mta_sts.mtasts.policy import Policy
from postfix_mta_sts.network.smtp.names import identity
from postfix_mta_sts.network.smtp.values import Identity, ProbeResult, TlsSession
from postfix_mta_sts.values import Value


class Conformance(Value, frozen=True):
    """None: there is no policy, or no probe. `breach` says why the host does not conform."""

    conforms: bool | None
    breach: str = ""


UNKNOWN: Final = Conformance(None)


def conformance(policy: Policy | None, name: str, found: ProbeResult | None) -> Conformance:
    """Compare an MX host with a policy of any mode, by what a probe of one address found."""
    if policy is None:
        return UNKNOWN
    if not policy.allows(name.lower()):
        return _breach("its name fits no mx pattern of the policy (RFC 8461, section 4.1)")
    if found is None:
        return UNKNOWN
    if found.offers_starttls is False:
        return _breach("it does not offer STARTTLS (RFC 8461, section 4.2)")
    if found.tls:
        return _certificate(name, found.tls)
    return _breach("it starts no TLS session (RFC 8461, section 4.2)") if found.failure else UNKNOWN


def _certificate(name: str, session: TlsSession) -> Conformance:
    """The certificate must be valid, and have a DNS-ID that fits the host's name."""
    if session.error:
        return _breach(
            f"its certificate is not valid: {session.error.reason} (RFC 8461, section 4.2)"
        )
    match identity((name,), session.chain[0]) if session.chain else None:
        case Identity.FITS:
            return Conformance(conforms=True)
        case Identity.COMMON_NAME:
            return _breach("only the common name of its certificate fits (RFC 8461, section 4.2)")
        case Identity.DIFFERS:
            return _breach("its certificate is for another name (RFC 8461, section 4.2)")
        case None:
            return _breach("it has no certificate (RFC 8461, section 4.2)")


def _breach(reason: str) -> Conformance:
    return Conformance(conforms=False, breach=reason)
