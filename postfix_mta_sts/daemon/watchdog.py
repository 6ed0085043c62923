"""Tells systemd that this process answers, as long as it does, and in one line how it fares.

Border: when to look up and what follows; the look-up itself is `probe`'s, the words to systemd are
`systemd`'s. What is not told is the alarm: systemd kills the service and starts it anew.

With several workers each asks; the first has its parent feed systemd. One that is stuck ends itself
(`End`), and its parent, which computes nothing, replaces it before systemd's patience is over.
"""

import asyncio
import faulthandler
import logging
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Self, TextIO

from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts.errors import NoRecordError
from postfix_mta_sts.postfix import probe
from postfix_mta_sts.postfix.probe import Place, ProbeError
from postfix_mta_sts.stats import SUCCESS, Counters, Snapshot, Source

ENDS_AFTER: Final = 0.85
"""Of systemd's interval: when a worker that is stuck ends. Its next answer is due after three
quarters at most; what is left is for the one that takes its place."""
STATUS_EVERY: Final = 30.0
"""Seconds between two looks at what there is to tell."""

_log = logging.getLogger(__name__)


async def look_up(places: Sequence[Place], deadline: float) -> None:
    """Ask at the first of the daemon's `places` that this process may ask. Raises `ProbeError`.

    Where it may ask at none, as at sockets that systemd has made for Postfix alone, that this very
    loop comes to it must do.
    """
    if place := probe.askable(places):
        await probe.ask(place, deadline=deadline)


async def watch(
    look_up: Callable[[float], Awaitable[object]], interval: float, feed: Callable[[], None]
) -> None:
    """`feed` every half `interval` (seconds), as long as `look_up` gives an answer; never returns.

    `look_up` is told how many seconds it may take, and raises `ProbeError`. What fails is not fed
    and tried again until systemd loses its patience; it is logged once.
    """
    ailing = False
    while True:
        try:
            await look_up(interval / 4)
        except ProbeError as error:
            if not ailing:
                event(_log, logging.ERROR, "no answer from ourselves", reason=str(error))
            ailing = True
        else:
            feed()
            if ailing:
                event(_log, logging.INFO, "answers again")
            ailing = False
        await asyncio.sleep(interval / (10 if ailing else 2))


class End:
    """The end of this process, with a traceback of each thread, unless it is put off in time.

    It comes from outside of Python, so also where Python is what is stuck. `seconds` is how long
    `put_off` gives; the first call of it sets the first end. With the block there is none any more.
    It is for a worker: its parent replaces it.
    """

    def __init__(self, seconds: float, stderr: TextIO | None = None) -> None:
        self._seconds = seconds
        self._stderr = stderr or sys.stderr

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        faulthandler.cancel_dump_traceback_later()

    def put_off(self) -> None:
        """Not now: so many seconds from now."""
        faulthandler.dump_traceback_later(self._seconds, exit=True, file=self._stderr)


async def show_status(
    status: Callable[[], Awaitable[str]], tell: Callable[[str], None], every: float = STATUS_EVERY
) -> None:
    """`tell` systemd the `status`, at once and whenever it has changed since; never returns.

    It is asked for every so many seconds, and told as `STATUS=…`.
    """
    told = ""
    while True:
        line = await status()
        if line != told:
            tell(f"STATUS={line}")
            told = line
        await asyncio.sleep(every)


def status_line(policies: int, counters: Counters | Snapshot, trouble: str = "") -> str:
    """What `systemctl status` shows: policies, hit rate, failures.

    `policies` are those in memory. A hit is a look-up that memory answered, of those that needed
    one; a failure is an attempt that came to nothing, other than for a domain without a record.
    `trouble` is printable, and comes first.
    """
    asked = sum(n for (_, source), n in counters.answers.items() if source is not Source.NONE)
    hits = sum(n for (_, source), n in counters.answers.items() if source is Source.MEMORY)
    sound = {SUCCESS, NoRecordError.code}
    failures = sum(n for (_, outcome), n in counters.attempts.items() if outcome not in sound)
    rate = f", {100 * hits / asked:.1f} % from memory" if asked else ""
    said = [
        f"{policies} {_plural(policies, 'policy', 'policies')}",
        f"{asked} {_plural(asked, 'look-up', 'look-ups')}{rate}",
        f"{failures} {_plural(failures, 'failure', 'failures')}",
    ]
    return "; ".join([*filter(None, [trouble]), *said])


def _plural(number: int, one: str, many: str) -> str:
    return one if number == 1 else many
