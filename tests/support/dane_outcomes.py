"""Outcomes of DANE look-ups."""

from postfix_mta_sts.mtasts.dane import DaneOutcome, Host, HostState, MxState

HOUR = 3600


def signed(*states: HostState, ttl: int = HOUR) -> DaneOutcome:
    """Return the outcome for a signed MX RRset with hosts in these states."""
    hosts = tuple(Host(f"mx{n}", state, f"TLSA of mx{n}") for n, state in enumerate(states))
    return DaneOutcome(MxState.SECURE, "MX: 2 found, signed", hosts, ttl)


UNANSWERED = DaneOutcome(MxState.FAILED, "MX: no answer within 5 s")
UNSIGNED = DaneOutcome(MxState.INSECURE, "MX: not signed", ttl=HOUR)
