"""Whether the clock of this machine can be right. Pure."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from postfix_mta_sts.admin.doctor.report import Effect, Finding
from postfix_mta_sts.admin.doctor.snapshot import Snapshot

TOLERANCE: Final = 300.0
"""Seconds by which the clock may differ from that of another host."""
_DAY: Final = 86_400.0
"""Seconds; files may have the time of another time zone."""
_STARTED: Final = 60.0
"""Seconds by which the daemon may seem to start in the future: its time is rounded."""


def clock(snapshot: Snapshot) -> Iterator[Finding]:
    """The clock is behind what has already happened, or differs from that of a Policy Host."""
    if what := _behind(snapshot) or _different(snapshot):
        yield Finding(
            "clock",
            Effect.HELD,
            what,
            "Valid certificates look expired, or not valid yet, so that mail is deferred and no "
            "policy is fetched",
            "timedatectl set-ntp true",
        )


def _behind(snapshot: Snapshot) -> str:
    started_at = (snapshot.daemon.status or {}).get("started_at", 0.0)
    if snapshot.now < snapshot.program_time - _DAY:
        return f"the clock is behind: this program was installed at {_date(snapshot.program_time)}"
    if started_at > snapshot.now + _STARTED:
        return f"the clock is behind: the daemon was started at {_date(started_at)}"
    return ""


def _different(snapshot: Snapshot) -> str:
    outward = snapshot.outward
    offset = outward.clock_offset if outward else None
    if outward is None or offset is None or abs(offset) <= TOLERANCE:
        return ""
    direction = "ahead of" if offset > 0 else "behind"
    return (
        f"the clock is {abs(offset):.0f} s {direction} that of the Policy Host of {outward.domain}"
    )


def _date(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%SZ}"


RULES: Final = (clock,)
