"""Why the shared store gave nothing."""

from typing import Final

CHECK_NAMES_THEM: Final = "; `postfix-mta-sts fleet check` names them"
"""The end of an error that only `fleet check` can say more about."""


class FleetError(Exception):
    """Base; `str()` is one printable line without secrets, for the log and for commands.

    `mend` is one more line, for `fleet check`: what ends the trouble. If it is empty, the class
    says enough.
    """

    def __init__(self, said: str = "", mend: str = "") -> None:
        super().__init__(said)
        self.mend = mend


class NotReachedError(FleetError):
    """The store did not answer: refused, no answer in time, connection lost."""


class LateError(NotReachedError):
    """The store did not answer within the time of one call; it may answer those that have more."""


class BusyError(FleetError):
    """This relay asks for more than the store answers in time; the store does what it can."""


class DeniedError(FleetError):
    """The store refuses this relay: password, rights, TLS."""


class NoGrantError(DeniedError):
    """PostgreSQL knows the role, and does not let it use the tables."""


class CannotServeError(FleetError):
    """The store answers, and cannot do it now: loading, read-only, out of memory, disk full."""


class SchemaError(FleetError):
    """The store has no tables of ours, or those of another version; `str()` says what to run."""


class PausedError(FleetError):
    """The store has failed, and is not asked for some seconds; `str()` is why it failed."""


class RefusedRecordError(FleetError):
    """A record is not what a relay of this fleet has written; `str()` says what is wrong."""


class OtherFormError(RefusedRecordError):
    """It has a form that this version of the program does not know; a newer one may."""


class ForeignKeyError(RefusedRecordError):
    """It is signed with a key that this relay does not have; it may be a new one of the fleet."""
