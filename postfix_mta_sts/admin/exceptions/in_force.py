"""What is in force of the exceptions of a daemon, and what the log has of their stages.

What decides about mail is given to `use`; an exception ends there by itself.
"""

import asyncio
from collections.abc import Callable

from postfix_mta_sts.admin.exceptions.log_lines import log_added, log_removed
from postfix_mta_sts.admin.exceptions.shared import ByScope
from postfix_mta_sts.admin.exceptions.stage_log import StageLog
from postfix_mta_sts.mtasts.exceptions import Exceptions, PolicyException
from postfix_mta_sts.store.records import FleetNotes
from postfix_mta_sts.values import replace


class InForce:
    """The exceptions of the configuration, and those of commands as far as they are known.

    `use` is called with all of them whenever they change; `clock` gives epoch seconds.
    """

    def __init__(
        self, use: Callable[[Exceptions], None], stages: StageLog, clock: Callable[[], float]
    ) -> None:
        self.exceptions = Exceptions()
        self.notes = FleetNotes()
        """What was seen last of the document of a fleet."""
        self.stages = stages
        self.changed = asyncio.Event()
        """Set when there is something to look at: others are in force, or a command has come."""
        self._use = use
        self._clock = clock

    @property
    def added(self) -> ByScope:
        """Those of commands."""
        return self.exceptions.added

    def configure(self, configured: ByScope) -> None:
        """Put those of the configuration in force."""
        self._put(replace(self.exceptions, configured=configured))

    def put_added(self, added: ByScope) -> None:
        """Put these of commands in force, and no others of them."""
        self._put(replace(self.exceptions, added=added))

    def take_over(self, added: ByScope) -> None:
        """Keep what is in force, which equals this, as this very object."""
        self.exceptions = replace(self.exceptions, added=added)

    def reconfigure(self, configured: ByScope, *, are_all: bool) -> None:
        """Take those of a configuration that was read again, and log what is new in it.

        `are_all`: those of commands are known.
        """
        before, now = self.exceptions.configured, self._clock()
        self.configure(configured)
        for scope, exception in configured.items():
            if not exception.is_in_force(now):
                self.stages.say_again(exception)  # at each reload
            elif before.get(scope) != exception:
                log_added(exception, before.get(scope))
                self.stages.added(exception, now)
                self.stages.note(now)
        for scope in before.keys() - configured.keys():
            log_removed(before[scope], None)
        self.say_stages(are_all=are_all)

    def expect(self, exception: PolicyException) -> None:
        """Take the stage of an exception as said; see `StageLog.added`."""
        self.stages.added(exception, self._clock())

    def say_stages(self, *, are_all: bool) -> None:
        """Log each exception that has ended or will end soon, once."""
        self.stages.say(self.exceptions.all(), self._clock(), are_all=are_all)

    def _put(self, exceptions: Exceptions) -> None:
        self.exceptions = exceptions
        self.stages.changed()
        self._use(exceptions)
        self.changed.set()
