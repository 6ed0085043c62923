"""What the daemon knows, as plain data for JSON."""

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given

from postfix_mta_sts.admin import serialize
from postfix_mta_sts.admin.serialize import JsonObject, PolicyFilter
from postfix_mta_sts.mtasts.backoff import Backoff
from postfix_mta_sts.mtasts.dane import DaneOutcome, Host, HostState, MxState
from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.mtasts.errors import (
    DnsFailureError,
    MtaStsError,
    NoRecordError,
    OwnFaultError,
    StatusError,
    UnreachableError,
)
from postfix_mta_sts.mtasts.lifecycle import DAY, HOUR, State, after_discovery
from postfix_mta_sts.mtasts.policy import Mode
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.mtasts.verdict import after_verdict
from postfix_mta_sts.stats import Snapshot
from postfix_mta_sts.stats.labels import Answer, Part, Source, Stage
from postfix_mta_sts.store import HistoryEntry, LastAsked, Overview, Row
from postfix_mta_sts.values import replace
from tests.support.states import STATES, WEEK, a_failed_state, a_state

GOOD = parse_domain("good.test")
NOW = 10 * DAY
IDLE = 30 * DAY
MX2 = Host("mx2.good.test", HostState.ABSENT, "TLSA: NXDOMAIN")


def failed(error: MtaStsError, state: State | None = None, at: float = NOW) -> State:
    """A state after an attempt that failed."""
    return a_failed_state(error, state, at)


def entry(
    stored: State | None = None, failing: State | None = None, asked_at: float = 0.0
) -> dict[str, Any]:
    """An entry of the policy list, from a stored state and a failing one in memory."""
    row = Row(GOOD, stored, asked_at, 7) if stored else None
    return serialize.entry_to_json(GOOD, row, failing, NOW, IDLE)


class TestStates:
    """States as JSON."""

    @given(STATES)
    def test_json(self, state: State) -> None:
        """Every state can be written as JSON, whatever a Policy Host has sent."""
        got = serialize.state_to_json(state)
        assert json.loads(json.dumps(got)) == got
        assert state.policy
        assert got["policy"]["text"] == state.policy.text

    def test_policy(self) -> None:
        """A policy has its fields and its id; times are whole seconds."""
        got = serialize.state_to_json(a_state(fetched_at=1000.4, refetch_at=2000.6))
        assert got["policy"]["id"] == "id1"
        assert got["policy"]["mode"] == "enforce"
        assert got["policy"]["mx"] == ["mx.good.test"]
        assert (got["fetched_at"], got["refetch_at"]) == (1000, 2001)
        assert got["expires_at"] == 1000 + WEEK
        assert got["failure"] is None

    def test_absence(self) -> None:
        """An absence has a reason and no policy."""
        absent = after_discovery(None, NoRecordError("NXDOMAIN"), NOW)
        assert isinstance(absent, State)
        got = serialize.state_to_json(absent)
        assert got["policy"] is None
        assert got["failure"] == {
            "code": "no-record",
            "stage": "dns",
            "result": "sts-policy-fetch-error",
            "reason": "NXDOMAIN",
            "count": 1,
            "since": round(NOW),
        }

    @pytest.mark.parametrize(
        ("error", "stage"),
        [
            (DnsFailureError("SERVFAIL"), "dns"),
            (StatusError("404"), "https"),
            (OwnFaultError("oops"), "own"),
        ],
    )
    def test_stage(self, error: MtaStsError, stage: str) -> None:
        """A failure names the stage in which it occurred."""
        assert serialize.state_to_json(failed(error))["failure"]["stage"] == stage

    def test_backoffs(self) -> None:
        """A back-off names its policy id."""
        state = replace(a_state(), backoffs=(Backoff(PolicyId("b"), 3, 99.6),))
        assert serialize.state_to_json(state)["backoffs"] == [{"id": "b", "count": 3, "until": 100}]

    def test_dane(self) -> None:
        """A verdict has its kind, its step and those of each MX host; times are whole seconds."""
        hosts = Host("mx1.good.test", HostState.USABLE, "TLSA: 1 found"), MX2
        found = after_verdict(None, DaneOutcome(MxState.SECURE, "MX", hosts, 7200), 1000.4)
        unanswered = DaneOutcome(MxState.FAILED, "no answer")
        got = serialize.state_to_json(
            replace(a_state(), dane=after_verdict(found, unanswered, 1001.0))
        )
        assert got["dane"] == {
            "kind": "some",
            "reason": "TLSA: NXDOMAIN",
            "hosts": [
                {"name": "mx1.good.test", "state": "usable", "step": "TLSA: 1 found"},
                {"name": "mx2.good.test", "state": "absent", "step": "TLSA: NXDOMAIN"},
            ],
            "found_at": 1000,
            "recheck_at": 1031,
            "until": 8200,
            "failure": "no answer",
        }
        assert json.loads(json.dumps(got)) == got
        assert serialize.state_to_json(a_state())["dane"] is None

    def test_fails(self) -> None:
        """A domain without a policy does not fail; a policy whose record is gone does."""
        kept = a_state(fetched_at=NOW)
        assert not serialize.fails(kept)
        assert not serialize.fails(failed(NoRecordError("NXDOMAIN")))
        assert serialize.fails(failed(NoRecordError("NXDOMAIN"), kept))
        assert serialize.fails(failed(StatusError("404")))


class TestNumbers:
    """Counters, gauges and numbers of the store as JSON."""

    def test_snapshot(self) -> None:
        """Look-ups are grouped by answer and source; the rate leaves out those of source `none`."""
        snapshot = Snapshot(
            pid=1,
            answers=Counter(
                {
                    (Answer.FOUND, Source.MEMORY): 6,
                    (Answer.NOT_FOUND, Source.NETWORK): 2,
                    (Answer.NOT_FOUND, Source.NONE): 5,
                }
            ),
            attempts=Counter({(Stage.DNS, "success"): 3, (Stage.HTTPS, "status"): 1}),
            failing=frozenset([Part.DNS]),
        )
        got = serialize.snapshot_to_json(snapshot)
        assert got["lookups"]["by_answer"] == {"found": 6, "not_found": 7, "try_again": 0}
        sources = {"memory": 6, "store": 0, "network": 2, "fleet": 0, "none": 5}
        assert got["lookups"]["by_source"] == sources
        assert got["lookups"]["from_memory"] == 0.75
        assert got["attempts"]["ended"] == {"dns": {"success": 3}, "https": {"status": 1}}
        assert got["not_working"] == ["dns"]
        assert json.loads(json.dumps(got)) == got

    def test_no_look_ups_yet(self) -> None:
        """Without look-ups there is no rate."""
        assert serialize.snapshot_to_json(Snapshot(pid=1))["lookups"]["from_memory"] is None

    def test_overview(self) -> None:
        """Each mode has its number, even if it is 0."""
        by_mode = {Mode.ENFORCE: 0, Mode.TESTING: 2, Mode.NONE: 0}
        assert serialize.overview_to_json(Overview(by_mode, 1.5)) == {
            "by_mode": {"enforce": 0, "testing": 2, "none": 0},
            "oldest_fetched_at": 2,
        }
        assert serialize.overview_to_json(Overview(by_mode, None))["oldest_fetched_at"] is None

    def test_history(self) -> None:
        """The history has each accepted policy and the times it was seen."""
        seen = HistoryEntry(PolicyId("a"), Mode.NONE, ("mx.test",), 1.2, 2.7)
        expected = {"id": "a", "mode": "none", "mx": ["mx.test"], "seen_from": 1, "seen_to": 3}
        assert serialize.history_to_json([seen]) == [expected]


class TestBest:
    """Which of several states of a domain is reported."""

    def test_nothing(self) -> None:
        """Without a state there is no best one."""
        assert serialize.best([], NOW) is None

    def test_policy_in_force(self) -> None:
        """A policy in force comes before an absence found later; an expired policy does not."""
        absence = failed(StatusError("404"), at=NOW)
        kept = a_state(fetched_at=NOW - DAY)
        gone = a_state(fetched_at=NOW - 8 * DAY)
        assert serialize.best([absence, kept, gone], NOW) is kept
        assert serialize.best([gone, absence], NOW) is absence

    def test_newest(self) -> None:
        """Of two policies in force, the one fetched later; of the same one, checked later."""
        old = a_state(fetched_at=NOW - DAY)
        new = a_state(fetched_at=NOW - HOUR)
        checked = failed(StatusError("404"), a_state(fetched_at=NOW - HOUR))
        assert serialize.best([new, old], NOW) is new
        assert serialize.best([new, checked, old], NOW) is checked


class TestUsage:
    """When a domain was last asked for, and how often."""

    ROW = Row(GOOD, a_state(), 100.4, 7)

    @pytest.mark.parametrize(
        ("row", "asked", "at", "count"),
        [
            (None, None, None, 0),
            (ROW, None, 100, 7),
            (None, LastAsked(200.0, 2), 200, 2),
            (ROW, LastAsked(200.0, 2), 200, 9),
            (ROW, LastAsked(50.0, 2), 100, 9),
            (Row(GOOD, a_state(), 0.0), None, None, 0),
        ],
    )
    def test_usage(
        self, row: Row | None, asked: LastAsked | None, at: int | None, count: int
    ) -> None:
        """Stored counts and those that are not stored yet are added; the later time counts."""
        assert serialize.usage_to_json(row, asked) == {"asked_at": at, "asked_count": count}


class TestEntry:
    """An entry of the policy list."""

    def test_stored(self) -> None:
        """A domain that is not in memory is listed as it is stored."""
        got = entry(a_state(fetched_at=NOW, refetch_at=NOW + DAY), asked_at=NOW - 5)
        assert (got["domain"], got["mode"], got["mx"]) == (GOOD, "enforce", ["mx.good.test"])
        assert (got["asked_at"], got["asked_count"]) == (round(NOW - 5), 7)
        assert (got["failure"], got["overdue"]) == (None, False)
        assert json.loads(json.dumps(got)) == got

    def test_in_memory(self) -> None:
        """A domain that is not stored is listed without the time it was last asked for."""
        got = entry(None, failed(StatusError("404")))
        assert (got["mode"], got["id"], got["mx"]) == (None, None, [])
        assert (got["asked_at"], got["asked_count"], got["overdue"]) == (None, None, False)
        assert got["failure"]["code"] == "status"

    def test_failure_in_memory(self) -> None:
        """The failure comes from memory, the rest from the store."""
        kept = a_state(fetched_at=NOW - DAY)
        got = entry(kept, failed(UnreachableError("refused"), kept, NOW - 30), NOW - 5)
        assert (got["failure"]["code"], got["mode"]) == ("unreachable", "enforce")
        assert (got["asked_at"], got["asked_count"]) == (round(NOW - 5), 7)

    def test_last_failure(self) -> None:
        """Of two failures the last one counts."""
        kept = a_state(fetched_at=NOW - DAY)
        earlier = failed(StatusError("404"), kept, NOW - 60)
        later = failed(UnreachableError("refused"), kept, NOW - 30)
        assert entry(earlier, later)["failure"]["code"] == "unreachable"
        assert entry(later, earlier)["failure"]["code"] == "unreachable"

    def test_failure_that_is_over(self) -> None:
        """A failure before the stored policy was fetched does not count."""
        before = failed(StatusError("404"), a_state(fetched_at=NOW - DAY), NOW - 60)
        assert entry(a_state(fetched_at=NOW), before, NOW)["failure"] is None

    @pytest.mark.parametrize(
        ("refetch_at", "asked_at", "overdue"),
        [
            (NOW - 2 * HOUR, NOW - DAY, True),
            (NOW - HOUR / 2, NOW - DAY, False),
            (NOW - 2 * HOUR, NOW - 31 * DAY, False),
        ],
    )
    def test_overdue(self, refetch_at: float, asked_at: float, *, overdue: bool) -> None:
        """A policy in use is overdue once it has been due for longer than any back-off."""
        state = a_state(fetched_at=NOW - DAY, refetch_at=refetch_at)
        assert entry(state, asked_at=asked_at)["overdue"] is overdue


class TestFits:
    """Which entries match a filter."""

    KEPT = entry(a_state(fetched_at=NOW, refetch_at=NOW + DAY), asked_at=NOW)
    FAILING = entry(None, failed(StatusError("404"), a_state(fetched_at=NOW)))
    ABSENT = entry(None, failed(StatusError("404")))
    EXPIRED = entry(a_state(fetched_at=NOW - 8 * DAY), asked_at=NOW)

    @pytest.mark.parametrize(
        ("wanted", "listed"),
        [
            (PolicyFilter(), [KEPT, FAILING]),
            (PolicyFilter(mode=Mode.ENFORCE), [KEPT, FAILING]),
            (PolicyFilter(mode=Mode.NONE), []),
            (PolicyFilter(failing=True), [FAILING, ABSENT]),
            (PolicyFilter(failing=True, mode=Mode.ENFORCE), [FAILING]),
            (PolicyFilter(expiring_in=WEEK), []),
            (PolicyFilter(expiring_in=WEEK + 1), [KEPT, FAILING]),
        ],
    )
    def test_fits(self, wanted: PolicyFilter, listed: list[JsonObject]) -> None:
        """Every condition must match. Absences are listed only as failures, expired ones never."""
        entries = [self.KEPT, self.FAILING, self.ABSENT, self.EXPIRED]
        assert [e for e in entries if serialize.fits(e, wanted, NOW)] == listed

    def test_overdue(self) -> None:
        """An overdue policy is failing, even if the reason is unknown."""
        state = a_state(fetched_at=NOW - DAY, refetch_at=NOW - 2 * HOUR)
        got = entry(state, asked_at=NOW)
        assert serialize.fits(got, PolicyFilter(failing=True), NOW)
