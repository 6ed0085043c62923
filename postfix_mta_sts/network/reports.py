"""What a network process says of itself, unasked; `process` receives it."""

from collections.abc import Sequence
from typing import TypeAlias

from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.network.messages import (
    AuthoritiesStatus,
    Confined,
    DnssecServers,
    DnsStatus,
    FleetStatus,
)
from postfix_mta_sts.network.sandbox.confinement import Confinement
from postfix_mta_sts.store.fleet.requests import StoreCondition

Report: TypeAlias = AuthoritiesStatus | Confined | DnssecServers | DnsStatus | FleetStatus


class Reports:
    """The latest of each kind."""

    unanswered: bool = False
    """See `DnsClient.unanswered`."""
    nameservers: Sequence[TcpAddress] = ()
    """See `LazyDaneClient.nameservers`; empty until the process is ready."""
    authorities_problem: str = ""
    """See `Authorities.problem`."""
    fleet_condition: StoreCondition = StoreCondition()
    """See `SharedStore.condition`."""
    untrusted: Sequence[TcpAddress] = ()
    """See `LazyDaneClient.untrusted`."""
    confinement: Confinement | None = None
    """What its sandbox holds; None until the process is ready."""

    def note(self, report: Report) -> None:
        """Keep a report in place of the one before."""
        match report:
            case DnsStatus(unanswered):
                self.unanswered = unanswered
            case DnssecServers(nameservers, untrusted):
                self.nameservers, self.untrusted = nameservers, untrusted
            case AuthoritiesStatus(problem):
                self.authorities_problem = problem
            case FleetStatus(condition):
                self.fleet_condition = condition
            case Confined(confinement):
                self.confinement = confinement
