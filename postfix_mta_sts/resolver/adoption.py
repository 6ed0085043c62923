"""What one attempt takes from the fleet: a shared policy, unless that would weaken this relay.

`fleet_question` asks the fleet, and `mtasts.sharing` says what its answer is worth. This module
knows when to ask, and does with a policy that is taken what `attempt` does with one that was
fetched.
"""

import asyncio
import logging
from collections.abc import Callable

from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts.changes import changes, from_relay
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import Fetch, State
from postfix_mta_sts.mtasts.policy import Policy
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.mtasts.sharing import SharedPolicy, adopted
from postfix_mta_sts.mtasts.weakening import weakenings
from postfix_mta_sts.resolver.dane import log_change
from postfix_mta_sts.resolver.fleet_question import FleetQuestion
from postfix_mta_sts.resolver.known import Known
from postfix_mta_sts.resolver.sources import AttemptContext
from postfix_mta_sts.resolver.stored_row import StoredRow
from postfix_mta_sts.stats.labels import Source
from postfix_mta_sts.values import replace

_log = logging.getLogger(__name__)


class Adoption:
    """Adopts policies of the fleet into what is `Known`.

    `named`: the id in the TXT record of the domain; None if there is no record to be had.
    """

    __slots__ = ("_domain", "_fleet", "_has_looked", "_known", "_row", "_shared")

    def __init__(
        self,
        shared: AttemptContext,
        domain: Domain,
        known: Known,
        row: StoredRow,
        fleet: FleetQuestion,
    ) -> None:
        self._shared = shared
        self._domain = domain
        self._known = known
        self._row = row
        self._fleet = fleet
        self._has_looked = False

    def start(self) -> None:
        """Ask for the policy at once if nothing is known, beside the TXT query."""
        if not self._known.live(self._shared.sources.clock()):
            self._fleet.start_to_look()

    async def before_fetch(
        self, step: Fetch | State, named: PolicyId | None, decide: Callable[[], Fetch | State]
    ) -> Fetch | State:
        """The next step if the fleet knows a policy; before a GET, this relay tries for the lease.

        A row that is late or cannot be read may hold more than the fleet knows: then this relay
        fetches for itself. `decide` makes the next step of what is known then.
        """
        if isinstance(step, Fetch) and not self._row.is_read:
            return step
        if (isinstance(step, Fetch) or step.policy is None) and await self.look(named):
            step = decide()
        if isinstance(step, Fetch) and self._row.is_read and await self._claim(named):
            step = decide()
        return step

    async def look(self, named: PolicyId | None) -> bool:
        """Take what the fleet has, unless it was asked before; return whether that was taken."""
        if self._has_looked:
            return False
        self._has_looked = True
        shared = await self._fleet.look()
        if shared is None:
            return False
        is_adopted = await self._adopt(shared, named)
        self._fleet.count(adopted=is_adopted)
        return is_adopted

    @property
    def may_look_beside(self) -> bool:
        """Whether `look_beside` may find something.

        As long as the row was not read, a shared policy may be less than what this relay had.
        """
        return self._fleet.may_look_again and self._row.is_read

    async def look_beside(self, fetching: asyncio.Future[Policy], named: PolicyId | None) -> None:
        """Take what the fleet says too late for its budget, unless the GET ends before."""
        await self._look_again(named, fetching)

    async def look_after_failure(self, named: PolicyId | None) -> bool:
        """Take what the fleet has, now that the network has failed; return whether that was taken.

        The row was waited for before. An answer is worth a wait, because there is no other.
        """
        return await self.look(named) or await self._look_again(named)

    async def _look_again(
        self, named: PolicyId | None, fetching: asyncio.Future[Policy] | None = None
    ) -> bool:
        if self._known.live(self._shared.sources.clock()):
            return False
        shared = await self._fleet.look_again(fetching)
        if shared is None:
            return False
        is_adopted = await self._adopt(shared, named)
        self._fleet.count(adopted=is_adopted, late=True)
        return is_adopted

    async def _claim(self, named: PolicyId | None) -> bool:
        """Take the lease, or what came in place of it; return whether that was taken."""
        shared = await self._fleet.claim()
        return shared is not None and await self._adopt(shared, named)

    async def _adopt(self, shared: SharedPolicy, named: PolicyId | None) -> bool:
        """Take a shared policy, unless that would weaken this relay; return whether it was taken.

        If the row cannot be read, the policy comes in place of nothing: it does not replace the
        row, and a fetch is due at once.
        """
        sources, known, by = self._shared.sources, self._known.state, shared.given_by
        now = sources.clock()
        state = adopted(shared, known, named, now, sources.random(), self._row.on_file)
        if isinstance(state, str):
            event(
                _log, logging.DEBUG, "shared policy not used", self._domain, relay=by, reason=state
            )
            return False
        if not self._row.is_read:
            state = replace(state, refetch_at=now)
        for change in changes(known, state, now):
            log_change(_log, self._domain, from_relay(change, by))
        self._shared.report(weakenings(self._domain, self._row.last_policy, state, now))
        self._known.replace_state(state, now)
        self._known.found_in = Source.FLEET
        self._known.keep(Source.FLEET, now)
        if self._row.is_read:
            await self._row.save(self._known.state or state)
        self._known.answer(Source.FLEET, sources.clock())
        return True
