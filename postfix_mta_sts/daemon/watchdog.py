"""Notify the watchdog of systemd while look-ups are answered, and report a status line.

A failing self-check stops the notifications; systemd then kills and restarts the service. This
module decides when to look up and when to notify; `probe` makes the look-up, `systemd` sends the
notification.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts.errors import NoRecordError
from postfix_mta_sts.postfix import probe
from postfix_mta_sts.postfix.probe import Place, ProbeError
from postfix_mta_sts.stats import Counters, Snapshot
from postfix_mta_sts.stats.labels import SUCCESS, Source

STATUS_INTERVAL: Final = 30.0
"""Seconds between two checks whether the status line has changed."""

_log = logging.getLogger(__name__)


async def look_up(places: Sequence[Place], seconds: float) -> None:
    """Send one look-up to the first of `places` that this process may connect to.

    If there is none, for example because systemd made the sockets for Postfix alone, return: that
    the event loop runs this is then enough. Raises `ProbeError`, also after `seconds`.
    """
    if place := probe.first_accessible(places):
        await probe.ask(place, timeout=seconds)


async def watch(
    look_up: Callable[[float], Awaitable[object]], interval: float, feed: Callable[[], None]
) -> None:
    """Call `feed` every half `interval` (seconds) while `look_up` succeeds; never returns.

    `look_up` receives its timeout in seconds and raises `ProbeError`. After a failure `feed` is
    not called; the look-up is repeated until systemd's interval is over. The first failure is
    logged.
    """
    failing = False
    while True:
        try:
            await look_up(interval / 4)
        except ProbeError as error:
            if not failing:
                event(_log, logging.ERROR, "self-check failed", reason=str(error))
            failing = True
        else:
            feed()
            if failing:
                event(_log, logging.INFO, "self-check succeeded again")
            failing = False
        await asyncio.sleep(interval / (10 if failing else 2))


async def show_status(
    status: Callable[[], Awaitable[str]],
    notify: Callable[[str], None],
    interval: float = STATUS_INTERVAL,
) -> None:
    """Send the `status` as `STATUS=…` at once and after each change; never returns.

    `interval`: seconds between two calls of `status`.
    """
    sent = ""
    while True:
        line = await status()
        if line != sent:
            notify(f"STATUS={line}")
            sent = line
        await asyncio.sleep(interval)


def status_line(policies: int, counters: Counters | Snapshot, error: str = "") -> str:
    """Return what `systemctl status` shows: policies, hit rate, failures.

    `policies`: those in memory. A hit is a look-up answered from memory, among those that needed
    a policy. A failure is an attempt that ended in an error, but not a domain without a record.
    `error`, printable, comes first.
    """
    asked = sum(n for (_, source), n in counters.answers.items() if source is not Source.NONE)
    hits = sum(n for (_, source), n in counters.answers.items() if source is Source.MEMORY)
    successes = {SUCCESS, NoRecordError.code}
    failures = sum(n for (_, code), n in counters.attempts.items() if code not in successes)
    rate = f", {100 * hits / asked:.1f} % from memory" if asked else ""
    parts = [
        f"{policies} {_plural(policies, 'policy', 'policies')}",
        f"{asked} {_plural(asked, 'look-up', 'look-ups')}{rate}",
        f"{failures} {_plural(failures, 'failure', 'failures')}",
    ]
    return "; ".join([*filter(None, [error]), *parts])


def _plural(number: int, one: str, many: str) -> str:
    return one if number == 1 else many
