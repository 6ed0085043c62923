"""Look at each part of a machine within the same time, and keep what could not be seen.

A part that fails, is late or is not allowed gives what the caller takes in its place, and an
`Unseen` with the reason. An error of this program is neither: it is raised.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from postfix_mta_sts.admin.doctor.report import Unseen
from postfix_mta_sts.errors import UserError
from postfix_mta_sts.mtasts.errors import MtaStsError, printable

BUDGET: Final = 3.5
"""Seconds for all parts together, which run at once; with the start of Python it is about 4."""
AS_ROOT: Final = "run doctor as root"

_WHAT_LIMIT: Final = 500
_REASON_LIMIT: Final = 300

T = TypeVar("T")


class Sight:
    """What all parts of one run could not see; made within the event loop that runs them.

    `is_root` says whether more can be seen as root; `budget` is in seconds.
    """

    def __init__(self, *, is_root: bool, budget: float = BUDGET) -> None:
        self.is_root: Final = is_root
        self._budget = budget
        self._deadline = asyncio.get_running_loop().time() + budget
        self._unseen: list[Unseen] = []
        self._pending: list[str] = []

    @property
    def unseen(self) -> tuple[Unseen, ...]:
        """What was not seen, each once."""
        return tuple(dict.fromkeys(self._unseen))

    @property
    def pending(self) -> tuple[str, ...]:
        """The parts that are being looked at."""
        return tuple(self._pending)

    @property
    def seconds_left(self) -> float:
        """Seconds until the end, never negative."""
        return max(0.0, self._deadline - asyncio.get_running_loop().time())

    def miss(self, what: str, reason: str, how: str = "") -> None:
        """Note what was not seen, why not, and how it could be."""
        shown = printable(reason, _REASON_LIMIT)
        text = f"{shown}; {how}" if how else shown
        self._unseen.append(Unseen(printable(what, _WHAT_LIMIT), text))

    def deny(self, what: str, reason: str) -> None:
        """Note what this user may not see; root may see it."""
        self.miss(what, reason, "" if self.is_root else AS_ROOT)

    async def look(self, what: str, work: Callable[[], Awaitable[T]], otherwise: T) -> T:
        """Return what the work finds, or `otherwise`, and note why it found nothing."""
        shown = printable(what, _WHAT_LIMIT)  # folders of Postfix have any name
        self._pending.append(shown)
        try:
            async with asyncio.timeout_at(self._deadline):
                return await work()
        except TimeoutError:
            self.miss(what, f"not finished within {self._budget:g} s", "run doctor again")
        except PermissionError as error:
            self.deny(what, _text(error))
        except OSError as error:
            self.miss(what, _text(error))
        except (UserError, MtaStsError) as error:
            self.miss(what, str(error))
        finally:
            del self._pending[self._pending.index(shown)]
        return otherwise


def _text(error: OSError) -> str:
    """The words of the system, with the file if there is one."""
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else reason
