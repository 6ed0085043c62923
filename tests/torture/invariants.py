"""Which answers are allowed: events in, violations out.

The checker is told what the domains publish, what their servers have sent, which faults are
active, what the clock shows, and each answer. It knows from that what the daemon can know, and what
it must know because it has answered by it before:

1. What was answered once is never answered weaker while it is valid, nor lost by a restart if the
   store worked, and never replaced by an older version.
2. MTA-STS never overrides a DANE verdict that the daemon has, or could have asked for.
3. A new domain is answered right, unless a fault that concerns it was active within its look-up.
   A fault of the daemon itself leaves no trace.
4. A new policy is noticed soon after its recheck was due.
5. A known domain is answered at once, every other one after the lookup timeout; the daemon is
   silent only while it restarts.
6. "Try again" is answered only where a setting says so.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from tests.torture.events import (
    DANE,
    DANE_ONLY,
    DNS_FAULTS,
    HOST_FAULTS,
    OWN_FAULTS,
    STORE_FAULTS,
    TEMP,
    UNANSWERED,
    Answered,
    Asked,
    ClockSet,
    DaemonKilled,
    DaemonReady,
    Event,
    Fault,
    FaultBegan,
    FaultEnded,
    Policy,
    PolicyServed,
    Published,
    Reloaded,
    Reloading,
    SettingsInForce,
    Verdict,
    VerdictServed,
)
from tests.torture.knowledge import Knowledge, Track
from tests.torture.timeline import Clock, Faults
from tests.torture.violations import Violation, answer_by, reason

KNOWN_WITHIN: Final = 2.0
"""Seconds in which a known domain is answered: less than any wait for the network, and enough for
a busy machine."""
BEYOND_TIMEOUT: Final = 3.0
"""Seconds after the lookup timeout in which any look-up is answered."""
RESTART_WITHIN: Final = 20.0
OWN_FAULT_WITHIN: Final = 8.0
"""Seconds after a fault of the network process in which new domains may go without."""
RECOVERY: Final = 6.0
"""The same for a fault of the DNS or of the Policy Hosts: a query that began in it ends by then."""
NOTICED_WITHIN: Final = 10.0
"""Seconds from a look-up that starts a recheck until a new policy is answered."""
RECHECK_LIFE: Final = 3_700.0
"""Seconds after which every recheck, back-off and absence is over (`mtasts.lifecycle`: an hour)."""
ATTEMPT_LIFE: Final = 65.0
"""Seconds that an attempt may wait for a Policy Host (`https.timeout`), whatever the clock says."""
WRITTEN_WITHIN: Final = 3.0
"""Seconds until a verdict is in the store."""
STORE_RETRY: Final = 8.0
"""Seconds after a fault of the store in which the daemon does not write yet."""
CACHED_REPLY_LIFE: Final = 75.0
"""Seconds until the daemon notices a clock that was set back; it may repeat replies till then."""
_REPLIES_KEPT: Final = 50_000

_STICKY: Final = DNS_FAULTS | HOST_FAULTS | {Fault.NETWORK_STOPPED, Fault.BUSY}
"""Faults that look like the domain's own, so that their result may be remembered."""
_NETWORK: Final = DNS_FAULTS | OWN_FAULTS
_DISTURBING: Final = frozenset(Fault) - {Fault.LOG_STUCK, Fault.DNS_LYING}
_UNREADABLE: Final = STORE_FAULTS - {Fault.STORE_SLOW}


@dataclass(frozen=True, slots=True)
class _Known:
    """What the daemon must know when it answers one look-up."""

    policy: bool
    """A policy was shown and lives."""
    verdict: bool
    """A verdict was shown and lives."""
    new_policy: bool
    """Nothing has gone wrong that could keep the daemon from what is published."""
    new_verdict: bool


class Checker:
    """Takes the events of a run in order, and yields the violations."""

    def __init__(self, settings: SettingsInForce | None = None) -> None:
        self.clock = Clock()
        self.faults = Faults()
        self.checked = 0
        """Answers that were checked."""
        self._domains: dict[str, Knowledge] = {}
        self._settings = [settings or SettingsInForce()]
        self._killed_at = 0.0
        self._ready_at = 0.0
        self._replies: dict[tuple[str, str, str], str] = {}

    def observe(self, event: Event) -> list[Violation]:
        """Take an event; return what was not allowed."""
        match event:
            case Answered():
                return list(self._answered(event))
            case DaemonReady(at):
                return list(self._ready(at))
            case _:
                self._note(event)
        return []

    def _note(self, event: Event) -> None:  # noqa: C901 (one case for each kind of event)
        match event:
            case ClockSet(at, offset):
                self.clock.set(at, offset)
            case Published():
                self._publish(event)
            case PolicyServed(at, domain, version):
                self._of(domain).policies.serve(version, at)
            case VerdictServed(at, domain, version):
                self._of(domain).verdicts.serve(version, at)
            case FaultBegan(at, fault):
                self.faults.begin(fault, at)
            case FaultEnded(at, fault):
                self.faults.end(fault, at)
            case DaemonKilled(at):
                self._killed_at = at
                self._replies.clear()
                for known in self._domains.values():
                    known.restart(at - WRITTEN_WITHIN)
            case Asked(at, domain):
                self._ask(domain, at)
            case Reloading(_, settings):
                self._settings.append(settings)
            case Reloaded():
                del self._settings[:-1]

    def _publish(self, event: Published) -> None:
        known = self._of(event.domain)
        known.has_policy = event.policy is not None
        known.hides_policy = event.hides_policy
        known.hides_verdict = event.hides_verdict
        known.changed_at = event.at
        if event.policy:
            known.policies.publish(event.policy)
        known.verdicts.publish(event.verdict)

    def _of(self, domain: str) -> Knowledge:
        return self._domains.setdefault(domain, Knowledge())

    def _ask(self, domain: str, at: float) -> Knowledge:
        """Note that a domain is asked for, perhaps for the first time."""
        known = self._of(domain)
        if known.first_asked_at is None:
            known.first_asked_at = at
        return known

    def _ready(self, at: float) -> Iterator[Violation]:
        self._ready_at = at
        if self._killed_at and at - self._killed_at > RESTART_WITHIN:
            yield self._violation(f"the restart took {at - self._killed_at:.1f} s", None, at)

    def _answered(self, event: Answered) -> Iterator[Violation]:
        self.checked += 1
        domain = self._ask(event.domain, event.asked_at)
        known = self._known(domain, event)
        yield from self._check_time(event, self._limit(domain, known, event))
        if event.answer != UNANSWERED:
            yield from self._check_answer(domain, known, event)
            self._remember(event)

    def _known(self, domain: Knowledge, event: Answered) -> _Known:
        """What must be known: what was shown and lives, and what nothing kept from being found."""
        span = self.clock, event.asked_at, event.at
        readable = domain.shown_since < event.at or not self.faults.during(
            _UNREADABLE, self._killed_at, event.at
        )
        policy = readable and domain.policies.must_be_known(*span)
        verdict = readable and domain.verdicts.must_be_known(*span, is_kept=False)
        return _Known(
            policy,
            verdict,
            not domain.hides_policy and self._is_findable(domain, event, _STICKY),
            not domain.hides_verdict and self._is_findable(domain, event, _STICKY - HOST_FAULTS),
        )

    def _is_findable(self, domain: Knowledge, event: Answered, sticky: Collection[Fault]) -> bool:
        """Whether none of these faults, nor one of the daemon, excuses a domain that is not known.

        The result of a `sticky` fault may be kept for an hour; an attempt may wait for a host.
        """
        asked_at, at = event.asked_at, event.at
        if self.clock.was_set(asked_at - 1, at):
            return False
        if self.faults.during(OWN_FAULTS, asked_at, at, OWN_FAULT_WITHIN):
            return False
        if self.faults.during(sticky, asked_at, at, RECOVERY):
            return False
        assert domain.first_asked_at is not None
        if not self.faults.during(sticky, domain.first_asked_at, at, RECOVERY):
            return True
        if asked_at < self.faults.last_end(HOST_FAULTS.intersection(sticky)) + ATTEMPT_LIFE:
            return False
        end = max(self.faults.last_end(sticky) + RECOVERY, self.clock.set_back_at)
        return self.clock.wall(asked_at) >= self.clock.wall(end) + RECHECK_LIFE

    def _limit(self, domain: Knowledge, known: _Known, event: Answered) -> float:
        """Seconds that the look-up may take."""
        since = domain.policies.known_since
        if event.has_verdict:
            since = max(since, domain.verdicts.known_since)
        if known.policy and (known.verdict or not event.has_verdict) and since < event.asked_at:
            slow = self.faults.during({Fault.STORE_SLOW}, event.asked_at, event.at, STORE_RETRY)
            if domain.shown_since < event.asked_at or not slow:
                return KNOWN_WITHIN
        return max(s.lookup_timeout for s in self._settings) + BEYOND_TIMEOUT

    def _check_time(self, event: Answered, limit: float) -> Iterator[Violation]:
        took = event.at - event.asked_at - event.lag
        if event.answer == UNANSWERED:
            yield self._violation(f"no answer for {took:.1f} s", event, event.at)
        elif took > limit:
            yield self._violation(f"answered after {took:.1f} s, not {limit:g} s", event, event.at)

    def _check_answer(
        self, domain: Knowledge, known: _Known, event: Answered
    ) -> Iterator[Violation]:
        policies, verdicts = self._candidates(domain, known, event)
        allowed = {answer_by(policy, verdict) for policy in policies for verdict in verdicts}
        if self._may_defer(policies, verdicts, domain, event):
            allowed.add(TEMP)
        if event.answer in allowed:
            self._show(domain, event, policies, verdicts)
        elif not self._is_repeated(event):
            was_known = known.policy or (known.verdict and event.has_verdict)
            what = reason(domain, event, known=was_known)
            yield self._violation(what, event, event.at, tuple(sorted(allowed)))

    def _candidates(
        self, domain: Knowledge, known: _Known, event: Answered
    ) -> tuple[list[Policy | None], list[Verdict | None]]:
        """The policies and the verdicts by which the daemon may answer."""
        span = self.clock, event.asked_at, event.at
        policies: list[Policy | None] = [*domain.policies.possible(*span)]
        verdicts: list[Verdict | None] = [*domain.verdicts.possible(*span, attempt=ATTEMPT_LIFE)]
        if known.new_policy:
            policies.append(domain.policies.current if domain.has_policy else None)
        elif not known.policy:
            policies.append(None)
        if known.new_verdict:
            verdicts.append(domain.verdicts.current)
        elif not known.verdict:
            verdicts.append(None)
        if self._is_overdue(domain, event):
            policies = [domain.policies.current if domain.has_policy else None]
        return policies, verdicts if event.has_verdict else [None]

    def _may_defer(
        self,
        policies: Collection[Policy | None],
        verdicts: Collection[Verdict | None],
        domain: Knowledge,
        event: Answered,
    ) -> bool:
        """Whether a setting allows "try again"."""
        timeout = max(s.lookup_timeout for s in self._settings)
        since = event.asked_at - timeout
        hostile = domain.hides_policy or domain.hides_verdict
        if not hostile and not self.faults.during(_STICKY | OWN_FAULTS, since, event.at, 40):
            return False
        unknown_verdict = event.has_verdict and None in verdicts
        return (None in policies and any(s.dns_defers for s in self._settings)) or (
            unknown_verdict and any(s.dane_defers for s in self._settings)
        )

    def _is_overdue(self, domain: Knowledge, event: Answered) -> bool:
        """Whether a new policy must have been noticed; notes when its recheck was due."""
        if domain.hides_policy or domain.shown_since > event.at or domain.policies.shown is None:
            return False
        ended = self.faults.last_end(_DISTURBING) + RECOVERY
        restarted = max(self._ready_at, self._killed_at)
        disturbed = max(domain.changed_at, ended, self.clock.set_back_at, restarted)
        if disturbed > event.asked_at:
            return False
        if domain.due and domain.due[0] == disturbed:
            return event.asked_at > domain.due[1] + NOTICED_WITHIN
        if self.clock.wall(event.asked_at) >= self.clock.wall(disturbed) + RECHECK_LIFE:
            domain.due = disturbed, event.at
        return False

    def _show(
        self,
        domain: Knowledge,
        event: Answered,
        policies: Collection[Policy | None],
        verdicts: Collection[Verdict | None],
    ) -> None:
        """Note which versions the answer proves that the daemon knows."""
        domain.shown_since = min(domain.shown_since, event.at)
        if event.answer in {DANE, DANE_ONLY}:
            self._show_version(domain.verdicts, [v for v in verdicts if v], event)
        elif event.answer.startswith("secure"):
            named = [p for p in policies if p and p.answer == event.answer]
            self._show_version(domain.policies, named, event)
            timeout = max(s.lookup_timeout for s in self._settings)
            calm = not self.faults.during(_NETWORK, event.asked_at - timeout, event.at, RECOVERY)
            if event.has_verdict and calm and not domain.hides_verdict:
                silent = [v for v in verdicts if v and v.kind in {"none", "insecure"}]
                self._show_version(domain.verdicts, silent, event)

    def _show_version(
        self,
        track: Track[Policy] | Track[Verdict],
        named: Collection[Policy | Verdict],
        event: Answered,
    ) -> None:
        versions = [each.version for each in named]
        if not versions or (served_at := track.last_served(min(versions))) is None:
            return
        stored = not self.faults.during(STORE_FAULTS, served_at, event.at, STORE_RETRY)
        track.show(min(versions), event.at, filed=stored)

    def _remember(self, event: Answered) -> None:
        """Keep the reply, for the time after the clock was set back."""
        request = event.client[:1], event.map_name, event.key
        self._replies.pop(request, None)
        self._replies[request] = event.answer
        if len(self._replies) > _REPLIES_KEPT:
            del self._replies[next(iter(self._replies))]

    def _is_repeated(self, event: Answered) -> bool:
        """Whether it is a cached reply from before the clock was set back."""
        if event.asked_at > self.clock.set_back_at + CACHED_REPLY_LIFE:
            return False
        return self._replies.get((event.client[:1], event.map_name, event.key)) == event.answer

    def _violation(
        self, what: str, event: Answered | None, at: float, allowed: tuple[str, ...] = ()
    ) -> Violation:
        return Violation(what, event, at, self.faults.now(), allowed)
