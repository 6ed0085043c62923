"""Whether the relays that share policies reach their store. Pure."""

from collections.abc import Iterator
from typing import Final

from postfix_mta_sts.admin.doctor.report import Effect, Finding
from postfix_mta_sts.admin.doctor.snapshot import Snapshot


def fleet(snapshot: Snapshot) -> Iterator[Finding]:
    """The shared store does not answer; what mends that is found by `fleet check`."""
    seen = (snapshot.daemon.status or {}).get("fleet")
    if seen and not seen.get("ok", True):
        yield Finding(
            "fleet",
            Effect.NONE,
            f"the shared store of the fleet does not work: {seen.get('reason')}",
            "Relays do not get each other's policies and exceptions; postfix-mta-sts fleet check "
            "says what to do",
            "",
        )


RULES: Final = (fleet,)
