"""Whether this machine reaches the servers of other domains, with `--outward`. Pure.

What stands in between is not on this machine, so that no command here mends it.
"""

from collections.abc import Iterator
from typing import Final

from postfix_mta_sts.admin.doctor.report import Effect, Finding
from postfix_mta_sts.admin.doctor.snapshot import Snapshot


def https_blocked(snapshot: Snapshot) -> Iterator[Finding]:
    """The Policy Host cannot be reached."""
    seen = snapshot.outward
    if seen and seen.https_problem:
        yield Finding(
            "https-blocked",
            Effect.UNPROTECTED,
            f"the Policy Host of {seen.domain} is not reached on port 443: {seen.https_problem}",
            "Without that no policy is fetched; open port 443 outward, or set https.proxy",
            "",
        )


def smtp_blocked(snapshot: Snapshot) -> Iterator[Finding]:
    """No mail server can be reached."""
    seen = snapshot.outward
    if seen and seen.smtp_problem:
        yield Finding(
            "smtp-blocked",
            Effect.HELD,
            f"no mail server of {seen.domain} is reached on port 25: {seen.smtp_problem}",
            "Without that no mail is delivered; open port 25 outward, which many providers close",
            "",
        )


def starttls_stripped(snapshot: Snapshot) -> Iterator[Finding]:
    """Mail servers whose domain promises TLS seem to offer none."""
    seen = snapshot.outward
    if seen and seen.has_enforced_policy and seen.has_starttls is False:
        yield Finding(
            "starttls-stripped",
            Effect.HELD,
            f"no mail server of {seen.domain} offers STARTTLS, though its policy promises TLS",
            "Mail to such domains waits; most likely a firewall on the way removes STARTTLS, so "
            "switch off its inspection of SMTP",
            "",
        )


RULES: Final = (https_blocked, smtp_blocked, starttls_stripped)
