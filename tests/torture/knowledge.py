"""What the daemon can know of one domain, and what it must know because it has answered by it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from tests.torture.events import Policy, Verdict
from tests.torture.timeline import Clock

SLACK: Final = 3.0
"""Seconds around the end of a life in which both answers are right."""
ARRIVAL: Final = 8.0
"""Seconds that may pass from the response of a server until its life begins to count."""
_SERVED_KEPT: Final = 200

V = TypeVar("V", Policy, Verdict)


@dataclass(slots=True)
class Track(Generic[V]):
    """The versions of a policy, or of a verdict, and which of them the daemon has shown."""

    versions: dict[int, V] = field(default_factory=dict)
    served: dict[int, list[float]] = field(default_factory=dict)
    """When each version was sent to the daemon."""
    shown: tuple[int, float] | None = None
    """The version by which the daemon has answered, and when. It never goes back behind that."""
    known_since: float = math.inf
    """When this daemon, or the one before it, first answered by a version."""
    filed: tuple[int, float] | None = None
    """The shown version that is in the store, and when it was shown."""

    @property
    def current(self) -> V | None:
        """The version that is published."""
        return self.versions[max(self.versions)] if self.versions else None

    def publish(self, value: V) -> None:
        """Publish a version."""
        self.versions[value.version] = value

    def serve(self, version: int, at: float) -> None:
        """A version is sent to the daemon."""
        times = self.served.setdefault(version, [])
        times.append(at)
        del times[:-_SERVED_KEPT]

    def possible(
        self, clock: Clock, asked_at: float, at: float, *, attempt: float = 0.0
    ) -> list[V]:
        """The versions that the daemon can hold, before the end of their life.

        `attempt`: seconds after a response for which it counts though the clock has been set.
        """
        wall = clock.lowest(asked_at, at) - SLACK
        return [
            self.versions[version]
            for version, time in self._servings()
            if (at < time + attempt and clock.was_set(time, at))
            or clock.highest(time, time + ARRIVAL) + self.versions[version].life > wall
        ]

    def must_be_known(
        self, clock: Clock, asked_at: float, at: float, *, is_kept: bool = True
    ) -> bool:
        """Whether the daemon has shown a version that cannot have reached the end of its life.

        `is_kept`: it is on file also when it has expired, so that it is found again should the
        clock turn out to have been ahead.
        """
        if self.shown is None:
            return False
        wall = clock.highest(asked_at if is_kept else self.shown[1], at) + SLACK
        ends = [
            clock.lowest(time, at) + self.versions[version].life
            for version, time in self._held(clock)
        ]
        return bool(ends) and min(ends) > wall

    def show(self, version: int, at: float, *, filed: bool) -> None:
        """The daemon has answered by this version; `filed`: it is in the store, too."""
        self.shown = version, at
        self.known_since = min(self.known_since, at)
        if filed:
            self.filed = version, at

    def last_served(self, version: int) -> float | None:
        """When a version was last sent."""
        times = self.served.get(version)
        return times[-1] if times else None

    def restart(self, *, kept: bool) -> None:
        """The daemon starts again; only what is in the store is `kept`."""
        self.filed = self.filed if kept else None
        self.shown = self.filed
        self.known_since = self.filed[1] if self.filed else math.inf

    def _servings(self) -> Iterator[tuple[int, float]]:
        """Each response with a version not older than the one shown."""
        oldest = self.shown[0] if self.shown else 0
        for version, times in self.served.items():
            if version >= oldest and version in self.versions:
                yield from ((version, time) for time in times)

    def _held(self, clock: Clock) -> Iterator[tuple[int, float]]:
        """Each response from which the version that the daemon holds can come."""
        assert self.shown
        version_shown, shown_at = self.shown
        wall = clock.wall(shown_at)
        for version, time in self._servings():
            before = version == version_shown and time <= shown_at
            life = self.versions[version].life
            if not before or clock.highest(time, time + ARRIVAL) + life > wall - SLACK:
                yield version, time


@dataclass(slots=True)
class Knowledge:
    """All that the checker notes of one domain."""

    policies: Track[Policy] = field(default_factory=Track)
    verdicts: Track[Verdict] = field(default_factory=Track)
    has_policy: bool = True
    hides_policy: bool = False
    hides_verdict: bool = False
    changed_at: float = 0.0
    first_asked_at: float | None = None
    """Since the last start of the daemon."""
    shown_since: float = math.inf
    """When this daemon, and not an earlier one, first answered by what it knows."""
    due: tuple[float, float] | None = None
    """The last disturbance, and when the domain was asked for with its recheck due since then."""

    def restart(self, verdict_kept_before: float) -> None:
        """The daemon starts again; a verdict shown later than that may not be written yet."""
        has_row = self.policies.filed is not None
        written = self.verdicts.known_since < verdict_kept_before
        self.policies.restart(kept=True)
        self.verdicts.restart(kept=has_row and written)
        self.first_asked_at = None
        self.shown_since = math.inf
        self.due = None
