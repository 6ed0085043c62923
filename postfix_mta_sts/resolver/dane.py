"""Turn the outcome of a DANE look-up into the new verdict of a domain, count it and log a change.

`attempt` decides when to look up; `mtasts.verdict` decides what an outcome means.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts.changes import Change, Severity, verdict_change
from postfix_mta_sts.mtasts.dane import DaneKind, DaneOutcome
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import DnsFailureError
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.mtasts.verdict import Verdict, after_verdict, latest
from postfix_mta_sts.stats import Counters
from postfix_mta_sts.stats.labels import SUCCESS, Stage
from postfix_mta_sts.values import replace

_LEVELS: Final = {
    Severity.DETAIL: logging.DEBUG,
    Severity.NOTE: logging.INFO,
    Severity.WARNING: logging.WARNING,
}

_log = logging.getLogger(__name__)


class DaneLookup(Protocol):
    """Looks up what DANE says of a domain; a DNS failure is an outcome too, not an exception."""

    def __call__(
        self, domain: Domain, on_progress: Callable[[DaneOutcome | None], None], /
    ) -> Awaitable[DaneOutcome]:
        """Look it up; `on_progress` gets the outcome so far, in which unfinished hosts failed.

        It gets None if a fault of this program has lost that; what follows is reported again.

        Raises `OwnFaultError`.
        """


def new_verdict(
    domain: Domain, before: Verdict | None, outcome: DaneOutcome, now: float, counters: Counters
) -> Verdict:
    """The verdict after a look-up that ended at `now` (epoch seconds)."""
    failed = outcome.kind is DaneKind.FAILURE
    counters.attempts[Stage.DANE, DnsFailureError.code if failed else SUCCESS] += 1
    after = after_verdict(before, outcome, now)
    log_change(_log, domain, verdict_change(before, after))
    return after


def with_later_verdict(state: State, verdict: Verdict | None, now: float) -> State:
    """The state with what its own verdict and another one say together; see `dane.latest`."""
    later = latest(verdict, state.dane, now)
    return state if later is state.dane else replace(state, dane=later)


def log_change(logger: logging.Logger, domain: Domain, change: Change) -> None:
    """Log a change of a domain at the level of its severity."""
    event(logger, _LEVELS[change.severity], change.what, domain, exc_info=None, **change.fields)
