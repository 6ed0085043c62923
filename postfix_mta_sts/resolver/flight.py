"""What is known of an attempt while it is under way.

Border: a record that `attempts` keeps, one for each domain at a time; it does nothing by itself.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.stats import Source
from postfix_mta_sts.values import Value


class LookupResult(Value, frozen=True):
    """What a look-up got."""

    state: State | None
    """None where there was nothing in time, or no room to ask."""
    source: Source


NO_RESULT: Final = LookupResult(None, Source.NONE)


@dataclass(slots=True)
class Flight:
    """One way to the network and back, and who waits for it."""

    answer: asyncio.Future[LookupResult]
    """Done as soon as there is something to serve, from the store or from the network, or
    nothing that is waited for."""
    waited_until: float
    """By the loop's clock: nobody waits for this attempt longer than that."""
    waited_for: asyncio.TimerHandle | None = None
    """Ends the waiting then; None before anybody waits."""
    overdue: bool = False
    """Whether it has."""
    remember: bool = False
    """Whether its outcome is kept in memory: a look-up asked for it."""
    forced: bool = False
    """Whether the policy is fetched however well it is known."""
    whole: bool = False
    """Whether the TXT record is asked for, be it due or not."""
    read: bool = False
    """Whether the file was read before it began; `on_file` is what was found, and not in force."""
    on_file: State | None = None
    recheck: bool = False
    """Whether it came out of the queue of those that are due."""
    kept: State | None = None
    """A policy in force of which DANE's verdict is missing: better than nothing, in the end."""
    after: State | None = None
    """The state in which it ended."""
    saved: bool = False
    """Whether that is on file, or will be."""
    task: asyncio.Task[None] | None = None
