"""Phrases that several parts of a diagnosis share."""

from collections.abc import Sequence
from typing import Final

from postfix_mta_sts.admin.diagnosis.evidence import Evidence
from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.mtasts.mistakes import Mistake, Place
from postfix_mta_sts.network.smtp.values import Certificate

LETTER: Final = "send its postmaster the text that --letter prints"
"""Advice for what the other side has to correct."""
_SHOWN: Final = 3
"""Hosts, or names of a certificate, that a sentence names."""
_PLACES: Final = {
    Place.RECORD: "TXT record",
    Place.POLICY: "policy file",
    Place.POLICY_HOST: "web server of the policy",
    Place.TLSRPT: "TLSRPT record (for reports only)",
    Place.MX: "MX record",
}


def subject(evidence: Evidence) -> str:
    """The subject of a verdict."""
    return f"Mail to {_key(evidence)}"


def cannot_tell(evidence: Evidence, why: str) -> str:
    """The sentence of a verdict that cannot be drawn from this machine."""
    return f"Nobody can tell from here what happens to mail to {_key(evidence)}: {why}"


def _key(evidence: Evidence) -> str:
    """The next-hop as it was given; with U-labels its name in A-labels."""
    text = evidence.next_hop.text
    return text if text.isascii() and text.isprintable() else printable(evidence.next_hop.host)


def names_of(certificate: Certificate) -> str:
    """The first names that a certificate is for: one can have thousands."""
    names = certificate.dns_names or tuple(filter(None, [certificate.common_name]))
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return printable(", ".join(names[:_SHOWN]) or "no name") + more


def mistake_found(mistake: Mistake) -> str:
    """Where a mistake is, and what is there."""
    return f"{_PLACES[mistake.place]}: {mistake.found}"


def and_later(advice: str) -> str:
    """Advice for a domain whose mail is sent without TLS once a message is older."""
    return f"{advice}; Postfix sends without TLS once a message is older than minimal_backoff_time"


def enumerated(hosts: Sequence[tuple[str, str]], total: int) -> str:
    """Say how hosts fail, each a name and what is wrong; the same reason is said once.

    `total` is how many MX hosts the domain has: Postfix may not try all of them.
    """
    clauses = list(dict.fromkeys(words for _, words in hosts))
    number = len(hosts)
    fail = f"all {number} MX hosts fail"
    if number == 1:
        fail = f"its MX host {hosts[0][0]} fails"
        if total > number:
            fail = f"{hosts[0][0]}, the only one of its {total} MX hosts that Postfix tries, fails"
    elif total > number:
        fail = f"the {number} of its {total} MX hosts that Postfix tries fail"
    if len(clauses) == 1:
        return f"{fail}: {clauses[0]}"
    listed = "; ".join(f"{name}: {words}" for name, words in hosts[:_SHOWN])
    more = f"; and {number - _SHOWN} more" if number > _SHOWN else ""
    return f"{fail}: {listed}{more}"
