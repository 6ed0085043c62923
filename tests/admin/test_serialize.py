"""What is known as plain data, and how the data of several processes becomes one."""

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.admin import serialize
from postfix_mta_sts.admin.types import JsonObject, PolicyFilter
from postfix_mta_sts.mtasts.dane import DaneOutcome, Host, HostState, MxState, after_verdict
from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.mtasts.errors import (
    DnsFailureError,
    MtaStsError,
    NoRecordError,
    OwnFaultError,
    StatusError,
    UnreachableError,
)
from postfix_mta_sts.mtasts.lifecycle import DAY, HOUR, Backoff, State, after_discovery, after_fault
from postfix_mta_sts.mtasts.policy import Mode
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.stats import Answer, Part, Snapshot, Source, Stage
from postfix_mta_sts.store import HistoryEntry, Overview, Row
from postfix_mta_sts.values import replace
from tests.support.states import STATES, WEEK, a_state

GOOD = parse_domain("good.test")
NOW = 10 * DAY
IDLE = 30 * DAY
MX2 = Host("mx2.good.test", HostState.ABSENT, "TLSA: NXDOMAIN")


def failed(error: MtaStsError, state: State | None = None, at: float = NOW) -> State:
    """A state after an attempt that failed."""
    return after_fault(state, error, at)


def entry(state: State, asked_at: float | None = None) -> JsonObject:
    """What a list says of a state; with a time, as the file has it."""
    if asked_at is None:
        return serialize.of_entry(GOOD, state)
    return serialize.of_row(Row(GOOD, state, asked_at, 7))


def merged(*entries: JsonObject, now: float = NOW) -> JsonObject:
    """What they come to."""
    return serialize.merged(entries, now, IDLE)


class TestStates:
    """What a state says."""

    @given(STATES)
    def test_json(self, state: State) -> None:
        """All of it has a form in JSON, whatever a Policy Host has written."""
        said = serialize.of_state(state)
        assert json.loads(json.dumps(said)) == said
        assert state.policy
        assert said["policy"]["text"] == state.policy.text

    def test_policy(self) -> None:
        """A policy is what it declares, and the id under which it was fetched; times are whole."""
        said = serialize.of_state(a_state(fetched_at=1000.4, refetch_at=2000.6))
        assert said["policy"]["id"] == "id1"
        assert said["policy"]["mode"] == "enforce"
        assert said["policy"]["mx"] == ["mx.good.test"]
        assert (said["fetched_at"], said["refetch_at"]) == (1000, 2001)
        assert said["expires_at"] == 1000 + WEEK
        assert said["failure"] is None

    def test_absence(self) -> None:
        """An absence has no policy, and its reason."""
        absent = after_discovery(None, NoRecordError("NXDOMAIN"), NOW)
        assert isinstance(absent, State)
        said = serialize.of_state(absent)
        assert said["policy"] is None
        assert said["failure"] == {
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
        """A failure names the step in which it came up."""
        assert serialize.of_state(failed(error))["failure"]["stage"] == stage

    def test_backoffs(self) -> None:
        """An id that waits is named."""
        state = replace(a_state(), backoffs=(Backoff(PolicyId("b"), 3, 99.6),))
        assert serialize.of_state(state)["backoffs"] == [{"id": "b", "count": 3, "until": 100}]

    def test_dane(self) -> None:
        """A verdict is its kind, the step that gave it and each MX host's; times are whole."""
        hosts = Host("mx1.good.test", HostState.USABLE, "TLSA: 1 found"), MX2
        found = after_verdict(None, DaneOutcome(MxState.SECURE, "MX", hosts, 7200), 1000.4)
        unanswered = DaneOutcome(MxState.FAILED, "no answer")
        said = serialize.of_state(replace(a_state(), dane=after_verdict(found, unanswered, 1001.0)))
        assert said["dane"] == {
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
        assert json.loads(json.dumps(said)) == said
        assert serialize.of_state(a_state())["dane"] is None

    def test_fails(self) -> None:
        """To have no policy is no failure; to have lost the record of one is, and all else."""
        kept = a_state(fetched_at=NOW)
        assert not serialize.fails(kept)
        assert not serialize.fails(failed(NoRecordError("NXDOMAIN")))
        assert serialize.fails(failed(NoRecordError("NXDOMAIN"), kept))
        assert serialize.fails(failed(StatusError("404")))


class TestNumbers:
    """What figures say."""

    def test_figures(self) -> None:
        """Look-ups stand by answer and by source; what needed no look-up is no part of the rate."""
        snapshot = Snapshot(
            pids=frozenset([1]),
            answers=Counter(
                {
                    (Answer.FOUND, Source.MEMORY): 6,
                    (Answer.NOT_FOUND, Source.NETWORK): 2,
                    (Answer.NOT_FOUND, Source.NONE): 5,
                }
            ),
            attempts=Counter({(Stage.DNS, "success"): 3, (Stage.HTTPS, "status"): 1}),
            failing=Counter({Part.DNS: 1, Part.STORE_READING: 0}),
        )
        said = serialize.of_figures(snapshot)
        assert said["lookups"]["by_answer"] == {"found": 6, "not_found": 7, "try_again": 0}
        assert said["lookups"]["by_source"] == {"memory": 6, "store": 0, "network": 2, "none": 5}
        assert said["lookups"]["from_memory"] == 0.75
        assert said["attempts"]["ended"] == {"dns": {"success": 3}, "https": {"status": 1}}
        assert said["not_working"] == ["dns"]
        assert json.loads(json.dumps(said)) == said

    def test_no_look_ups_yet(self) -> None:
        """Of nothing there is no share."""
        assert serialize.of_figures(Snapshot(pids=frozenset()))["lookups"]["from_memory"] is None

    def test_overview(self) -> None:
        """Each mode has its number, also nothing."""
        by_mode = {Mode.ENFORCE: 0, Mode.TESTING: 2, Mode.NONE: 0}
        assert serialize.of_overview(Overview(by_mode, 1.5)) == {
            "by_mode": {"enforce": 0, "testing": 2, "none": 0},
            "oldest_fetched_at": 2,
        }
        assert serialize.of_overview(Overview(by_mode, None))["oldest_fetched_at"] is None

    def test_history(self) -> None:
        """What was accepted, from when to when it was seen."""
        seen = HistoryEntry(PolicyId("a"), Mode.NONE, ("mx.test",), 1.2, 2.7)
        expected = {"id": "a", "mode": "none", "mx": ["mx.test"], "seen_from": 1, "seen_to": 3}
        assert serialize.of_history([seen]) == [expected]


class TestBest:
    """Which of several states of a domain is told."""

    def test_nothing(self) -> None:
        """Of nothing there is no best."""
        assert serialize.best([], NOW) is None

    def test_policy_in_force(self) -> None:
        """A policy in force goes before an absence found later; an expired one does not."""
        absence = serialize.of_state(failed(StatusError("404"), at=NOW))
        kept = serialize.of_state(a_state(fetched_at=NOW - DAY))
        gone = serialize.of_state(a_state(fetched_at=NOW - 8 * DAY))
        assert serialize.best([absence, kept, gone], NOW) is kept
        assert serialize.best([gone, absence], NOW) is absence

    def test_newest(self) -> None:
        """Of two policies the one that was fetched later; of the same, what was checked later."""
        old = serialize.of_state(a_state(fetched_at=NOW - DAY))
        new = serialize.of_state(a_state(fetched_at=NOW - HOUR))
        checked = serialize.of_state(failed(StatusError("404"), a_state(fetched_at=NOW - HOUR)))
        assert serialize.best([new, old], NOW) is new
        assert serialize.best([new, checked, old], NOW) is checked


class TestMerged:
    """What file and memories say of one domain."""

    def test_file_alone(self) -> None:
        """What nobody has in memory is as it is on file."""
        got = merged(entry(a_state(fetched_at=NOW, refetch_at=NOW + DAY), asked_at=NOW - 5))
        assert (got["asked_at"], got["asked_count"]) == (round(NOW - 5), 7)
        assert (got["failure"], got["overdue"]) == (None, False)

    def test_failure_in_memory(self) -> None:
        """A failure is what the process says that checked last; the rest is on file."""
        kept = a_state(fetched_at=NOW - DAY)
        earlier = entry(failed(StatusError("404"), kept, NOW - 60))
        later = entry(failed(UnreachableError("refused"), kept, NOW - 30))
        got = merged(earlier, entry(kept, asked_at=NOW - 5), later)
        assert got["failure"]["code"] == "unreachable"
        assert got["asked_count"] == 7

    def test_failure_that_is_over(self) -> None:
        """A failure before the policy was fetched, by another process, is none any more."""
        before = entry(failed(StatusError("404"), a_state(fetched_at=NOW - DAY), NOW - 60))
        assert merged(before, entry(a_state(fetched_at=NOW), asked_at=NOW))["failure"] is None

    @given(st.permutations(range(4)))
    def test_order(self, order: list[int]) -> None:
        """It does not matter who speaks first."""
        kept = a_state(fetched_at=NOW - DAY)
        said = [
            entry(kept, asked_at=NOW - 5),
            entry(failed(StatusError("404"), kept, NOW - 60)),
            entry(failed(UnreachableError("refused"), kept, NOW - 30)),
            entry(failed(StatusError("500"))),
        ]
        assert merged(*(said[n] for n in order)) == merged(*said)

    @pytest.mark.parametrize(
        ("refetch_at", "asked_at", "overdue"),
        [
            (NOW - 2 * HOUR, NOW - DAY, True),
            (NOW - HOUR / 2, NOW - DAY, False),
            (NOW - 2 * HOUR, NOW - 31 * DAY, False),
        ],
    )
    def test_overdue(self, refetch_at: float, asked_at: float, *, overdue: bool) -> None:
        """What is in use, and was to be fetched again longer ago than any backoff, is overdue."""
        state = a_state(fetched_at=NOW - DAY, refetch_at=refetch_at)
        assert merged(entry(state, asked_at=asked_at))["overdue"] is overdue


class TestFits:
    """Which entries are listed."""

    KEPT = merged(entry(a_state(fetched_at=NOW, refetch_at=NOW + DAY), asked_at=NOW))
    FAILING = merged(entry(failed(StatusError("404"), a_state(fetched_at=NOW))))
    ABSENT = merged(entry(failed(StatusError("404"))))
    EXPIRED = merged(entry(a_state(fetched_at=NOW - 8 * DAY), asked_at=NOW))

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
        """All that is said must fit; an absence is listed only as a failure, an end never."""
        entries = [self.KEPT, self.FAILING, self.ABSENT, self.EXPIRED]
        assert [e for e in entries if serialize.fits(e, wanted, NOW)] == listed

    def test_overdue(self) -> None:
        """What is overdue fails, though no process knows why."""
        state = a_state(fetched_at=NOW - DAY, refetch_at=NOW - 2 * HOUR)
        got = merged(entry(state, asked_at=NOW))
        assert serialize.fits(got, PolicyFilter(failing=True), NOW)
