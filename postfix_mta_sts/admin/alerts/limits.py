"""Limit alerts, so that a domain whose owner changes it again and again costs little.

Pure: the caller passes the time, in monotonic seconds. `Repeats` is about one domain, `HourlyLimit`
about all of them together.
"""

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final, TypeAlias

from postfix_mta_sts.mtasts.lifecycle import DAY, HOUR, WEEK
from postfix_mta_sts.mtasts.weakening import Weakening, WeakeningKind

if TYPE_CHECKING:
    from postfix_mta_sts.mtasts.domain import Domain

PER_KIND: Final = 10
"""Events of one kind that a domain has in a day, or in a week if they are in `FLAPPING`."""
FLAPPING: Final = frozenset({WeakeningKind.RECORD, WeakeningKind.DANE})
"""Kinds that the DNS decides: name servers that disagree cause them again and again."""
DOMAINS_LIMIT: Final = 10_000
"""Domains that are remembered; the one that changed the longest ago is forgotten first."""
PER_HOUR: Final = 20
"""Runs of the command in an hour."""

_Seen: TypeAlias = tuple[float, WeakeningKind, int]
"""When, what, and the hash of an event."""


class Repeats:
    """Admits an event of a domain unless it had the same one, or `PER_KIND` of its kind, that day.

    Of the kinds in `FLAPPING` a week counts. Each kind has a limit of its own: otherwise ten small
    changes of max_age would hide that the policy leaves mode enforce.
    """

    def __init__(self) -> None:
        self._seen: OrderedDict[Domain, list[_Seen]] = OrderedDict()

    def admit(self, weakening: Weakening, now: float) -> bool:
        """Whether this is an event; it is noted then."""
        domain, kind = weakening.domain, weakening.kind
        key = hash((weakening.before, weakening.after))
        seen = [each for each in self._seen.get(domain, ()) if now - each[0] < _period(each[1])]
        keys = [each_key for _, each_kind, each_key in seen if each_kind is kind]
        if key in keys or len(keys) >= PER_KIND:
            return False
        self._seen[domain] = [*seen, (now, kind, key)]
        self._seen.move_to_end(domain)
        if len(self._seen) > DOMAINS_LIMIT:
            self._seen.popitem(last=False)
        return True


def _period(kind: WeakeningKind) -> float:
    return WEEK if kind in FLAPPING else DAY


class HourlyLimit:
    """Admits `PER_HOUR` runs in any hour."""

    def __init__(self) -> None:
        self._runs: deque[float] = deque(maxlen=PER_HOUR)

    def wait(self, now: float) -> float:
        """Return the seconds until a run is admitted; 0: it is now."""
        if len(self._runs) < PER_HOUR:
            return 0.0
        return max(0.0, self._runs[0] + HOUR - now)

    def take(self, now: float) -> None:
        """Note a run."""
        self._runs.append(now)
