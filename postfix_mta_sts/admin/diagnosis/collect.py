"""Collect the evidence: ask the daemon, the network, the MX hosts and the Postfix of this machine.

All of it runs at once, as far as one thing does not need another. It stores and changes nothing,
and looks the policy up with the functions that the daemon uses. What a part finds is in the
evidence at once, so that it can be shown before the end.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command is to do."""

    smtp: bool = False
    """Probe the MX hosts."""
    through_postfix: bool = False
    """Have the running Postfix probe them."""
    seconds: float = 10.0
    """For the look-ups, and again for the probes."""
