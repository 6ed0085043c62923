"""Log lines about network processes, one a minute for each kind.

A remote host that makes a process end could do so again and again.
"""

import asyncio
import logging
from typing import Final

from postfix_mta_sts import __version__
from postfix_mta_sts.logs import event
from postfix_mta_sts.network.process import NetworkProcess, ProcessError, WrongVersionError
from postfix_mta_sts.rate_limit import RateLimit

_log = logging.getLogger(__name__)


class ProcessLog:
    """Writes them; that all is well again follows once after each of the others."""

    def __init__(self) -> None:
        self._told_silence = False
        self._told_missing: tuple[str, ...] = ()
        self._told_end = False
        self._ended: Final = RateLimit()
        self._not_started: Final = RateLimit()
        self._other_version: Final = RateLimit()
        self._silent: Final = RateLimit()

    def ended(self, process: NetworkProcess, status: int | None) -> None:
        """A process that was ready has ended; `status` is None if it is not known yet."""
        if count := self._ended.take(_now()):
            self._told_end = True
            event(
                _log,
                logging.ERROR,
                "network process ended",
                status=status,
                pid=process.pid,
                reason=process.fault or None,
                count=count,
            )

    def not_started(self, error: Exception) -> None:
        """A process did not become ready."""
        if isinstance(error, WrongVersionError):
            self._other_version_found(error)
        elif count := self._not_started.take(_now()):
            self._told_end = True
            event(
                _log,
                logging.ERROR,
                "cannot start network process",
                reason=str(error),
                count=count,
                exc_info=None if isinstance(error, OSError | ProcessError) else error,
            )

    def late(self, seconds: float) -> None:
        """The first process is not ready after these seconds."""
        self._told_end = True
        event(_log, logging.WARNING, "network process is not ready", seconds=seconds)

    def silent(self, process: NetworkProcess) -> None:
        """A process does not answer pings."""
        if count := self._silent.take(_now()):
            self._told_silence = True
            event(
                _log,
                logging.WARNING,
                "network process does not answer",
                pid=process.pid,
                seconds=process.silence,
                count=count,
            )

    def answers_again(self, process: NetworkProcess) -> None:
        """A process that was silent answers pings."""
        if self._told_silence:
            self._told_silence = False
            event(_log, logging.INFO, "network process answers again", pid=process.pid)

    def works_again(self, process: NetworkProcess) -> None:
        """A process is ready."""
        if self._told_end:
            self._told_end = False
            event(_log, logging.INFO, "network process works again", pid=process.pid)

    def confined(self, process: NetworkProcess) -> None:
        """A process is ready; tell what its sandbox does not hold, if that is news."""
        confinement = process.confinement
        missing = confinement.missing if confinement and confinement.is_wanted else ()
        if missing and missing != self._told_missing:
            event(_log, logging.INFO, "sandbox of network process has gaps", missing=missing)
        self._told_missing = missing

    def renewed(self, path: str) -> None:
        """A successor has replaced a process from which a replaced file was hidden."""
        event(_log, logging.INFO, "network process replaced, a file has changed", path=path)

    def not_renewed(self, path: str, error: Exception) -> None:
        """There is no successor: the process before goes on with what it has read before."""
        event(
            _log,
            logging.WARNING,
            "network process cannot be replaced, a file has changed",
            path=path,
            reason=str(error),
        )

    def _other_version_found(self, error: WrongVersionError) -> None:
        if count := self._other_version.take(_now()):
            self._told_end = True
            event(
                _log,
                logging.ERROR,
                "network process has another version; restart the daemon",
                daemon=__version__,
                network_process=error.version,
                count=count,
            )


def _now() -> float:
    return asyncio.get_running_loop().time()
