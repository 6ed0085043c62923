"""When a network process counts as ready, silent or hung, and when another one is started.

Pure functions of numbers; `supervisor` and `process` measure the time.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from postfix_mta_sts.mtasts.dane import MAX_HOSTS
from postfix_mta_sts.network.messages import (
    AnyCall,
    AskFleet,
    Discover,
    FetchPolicy,
    FindTlsrpt,
    LookUpDane,
    LookUpHosts,
    NotValidating,
    Probe,
)
from postfix_mta_sts.network.settings import NetworkSettings
from postfix_mta_sts.store.fleet.limits import limit_of

SLACK: Final = 60.0
"""Seconds that a call may last beyond its own timeouts. Longer than a hung process is waited for:
the calls of such a process are to be sent again, and not to fail."""
_DANE_QUERIES: Final = 1 + 6 * MAX_HOSTS
"""Queries of one DANE look-up at most, in turn: the MX records; for a host both address families,
a CNAME, and the TLSA records of two names. `dane` looks up some hosts in parallel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds, and numbers of pings; tests use shorter times."""

    ready_within: float = 30.0
    """A reload is refused if the new process is not ready then. It starts in 0.3 s; but while the
    one before works it gives way to others, so that a machine with many busy processes gives it
    little time."""
    start_within: float = 120.0
    """The same, while no other process works: then it is killed. Much longer, since the next one
    would be as slow: with 18 busy processes on two processors, a start took more than 30 s."""
    late_after: float = 10.0
    """After the start of the daemon, a process that is not ready then is a problem: by default,
    look-ups have waited for it in vain. Later ones wait for `give_up_after`."""
    ping: float = 1.0
    """Between two pings. A ping that is not answered is not repeated but counted again."""
    silent_after: int = 5
    """Pings after which a process counts as not working."""
    hung_after: int = 30
    """Pings after which it is killed."""
    restart: float = 1.0
    """Between two starts; doubled for each process that ends soon."""
    restart_limit: float = 30.0
    """Between two starts at most."""
    steady_after: float = 10.0
    """A process that was ready for this time does not count as one that ends soon."""
    give_up_after: float = 1.0
    """For which a call waits for a process, if that `is_worth_waiting` no longer."""


class Pulse(Enum):
    """What unanswered pings say of a process."""

    BEATING = "beating"
    SILENT = "silent"
    HUNG = "hung"


def pulse(unanswered: int, timing: Timing) -> Pulse:
    """What this number of unanswered pings means.

    Pings count and not seconds: a daemon that was stopped itself, or had no processor time, finds
    much time over, but has sent few pings in it.
    """
    if unanswered >= timing.hung_after:
        return Pulse.HUNG
    return Pulse.SILENT if unanswered >= timing.silent_after else Pulse.BEATING


def spacing(before: float, ready_for: float | None, timing: Timing) -> float:
    """The seconds between the start of a process that has ended and the next start.

    `before`: the spacing before that process, 0 for the first one. `ready_for`: how long it was
    ready, None if it never was.
    """
    steady = ready_for is not None and ready_for >= timing.steady_after
    return timing.restart if steady or not before else min(2 * before, timing.restart_limit)


def is_worth_waiting(wait: float, spaced: float, ready_for: float | None, timing: Timing) -> bool:
    """Whether calls wait for the next process, however long its start takes.

    `wait`: the seconds until that start; `spaced`: the `spacing` before it. After a process that
    was ready for `ready_for` they wait if the start is near. After one that was not, only if it was
    the first such one: that may be bad luck.
    """
    return spaced <= timing.restart if ready_for is None else wait <= timing.give_up_after


def call_timeout(call: AnyCall, settings: NetworkSettings) -> float:
    """The seconds after which a call without a result fails, though the process works.

    The process itself ends each call sooner; only a fault of this program lets one be forgotten.
    """
    match call:
        case Discover() | FindTlsrpt() | NotValidating():
            return 2 * settings.dns_timeout + SLACK
        case FetchPolicy():
            return settings.https_timeout + SLACK
        case LookUpDane():
            return _DANE_QUERIES * settings.dns_timeout + SLACK
        case LookUpHosts():
            return call.seconds + SLACK
        case Probe():
            return call.plan.seconds + SLACK
        case AskFleet():
            return limit_of(call.request) + SLACK
