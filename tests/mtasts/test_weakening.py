"""What counts as weaker than before, and what does not: each weakening is one event."""

from dataclasses import dataclass, field
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.believable import believable
from postfix_mta_sts.mtasts.dane import DaneKind, DaneOutcome
from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.mtasts.errors import (
    DiscoveryError,
    DnsFailureError,
    FetchError,
    InvalidRecordError,
    NoRecordError,
    StatusError,
)
from postfix_mta_sts.mtasts.lifecycle import (
    DAY,
    Discovered,
    Fetch,
    State,
    after_discovery,
    after_fetch,
)
from postfix_mta_sts.mtasts.policy import Policy, parse_policy
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.mtasts.verdict import Verdict, after_verdict, from_text, to_text
from postfix_mta_sts.mtasts.weakening import (
    TEXT_LIMIT,
    Weakening,
    WeakeningKind,
    dane_weakenings,
    in_words,
    weakenings,
)
from postfix_mta_sts.store.sqlite.rows import columns_of, state_of
from postfix_mta_sts.values import replace
from tests.support.dane_outcomes import ABSENT, FAILED, UNANSWERED, UNSIGNED, UNUSABLE, USABLE
from tests.support.dane_outcomes import signed as hosts
from tests.support.surroundings import GOOD, START, policy

MODE, MX, RECORD, MAX_AGE = (
    WeakeningKind.MODE,
    WeakeningKind.MX,
    WeakeningKind.RECORD,
    WeakeningKind.MAX_AGE,
)
MISSING: Final = NoRecordError("NXDOMAIN")
SERVFAIL: Final = DnsFailureError("SERVFAIL")


def stored(state: State, now: float) -> State:
    """Return the state as a restart reads it from the store."""
    columns = columns_of("good.test", state, None)
    _, policy_id, text, fetched_at, refetch_at, _, claimed_at, dane, failures, digest = columns
    literals = (repr(fetched_at), repr(refetch_at), *([repr(claimed_at)] if claimed_at else ()))
    assert isinstance(digest, bytes)
    return state_of("good.test", (policy_id, text, *literals, dane, failures, digest.hex()), now)


@dataclass
class Domain:
    """A domain as the daemon sees it, step by step, and the events so far."""

    state: State | None = None
    now: float = START
    found: list[Weakening] = field(default_factory=list)

    @property
    def kinds(self) -> list[WeakeningKind]:
        """The kinds of the events, which are forgotten."""
        kinds = [each.kind for each in self.found]
        self.found.clear()
        return kinds

    def attempt(
        self,
        record: str | DiscoveryError,
        served: Policy | FetchError | DnsFailureError,
        *,
        after: float = 3600.0,
        forced: bool = False,
    ) -> None:
        """Make an attempt, as `resolver.attempt` does."""
        self.now += after
        discovered = Discovered(PolicyId(record), 300) if isinstance(record, str) else record
        step = after_discovery(self.state, discovered, self.now, forced=forced)
        if isinstance(step, Fetch):
            step = after_fetch(self.state, step, served, self.now, 0.0)
        self.found += weakenings(GOOD, self.state, step, self.now)
        self.state = step

    def restart(self) -> None:
        """Read the state from the store again; an absence is not stored."""
        self.state = stored(self.state, self.now) if self.state and self.state.policy else None


def several(*patterns: str) -> Policy:
    """Return an enforced policy with these mx patterns."""
    mx = "".join(f"mx: {each}\n" for each in patterns)
    return parse_policy(f"version: STSv1\nmode: enforce\n{mx}max_age: 604800\n".encode())


@pytest.mark.parametrize(
    ("old", "new", "kinds"),
    [
        (policy(), policy(), []),
        (policy(), policy("testing"), [MODE]),
        (policy(), policy("none"), [MODE]),
        (policy(), policy("none", max_age=60, mx="mx9.evil.test"), [MODE]),
        (policy(), policy(mx="mx9.evil.test"), [MX]),
        (policy(), policy(max_age=604_799), [MAX_AGE]),
        (policy(), policy(max_age=604_801), []),
        (policy(), policy(max_age=60, mx="mx9.evil.test"), [MX, MAX_AGE]),
        (several("a.good.test", "b.good.test"), several("b.good.test", "c.good.test"), []),
        (several("*.good.test"), several("a.good.test", "b.good.test"), []),
        (several("*.good.test"), several("a.good.test", "b.evil.test"), [MX]),
        (several("a.good.test"), several("*.good.test"), [MX]),
        (several("a.good.test"), several("a.good.test", "b.good.test"), []),
        (several("a.good.test"), several("a.good.test", "b.x.good.test", "*.good.test"), []),
        (several("a.good.test"), several("a.good.test", "b.evil.test"), [MX]),
        (several("a.good.test"), several("a.good.test", "evilgood.test"), [MX]),
        (several("a.good.test"), several("a.good.test", "*.test"), [MX]),
        (several("good.test"), several("good.test", "evil.test"), [MX]),
        (several("*.good.test"), several("*.good.test", "a.good.test"), []),
        (several("a.good.test", "b.other.test"), several("a.good.test"), []),
        (several("a.good.test", "b.other.test"), several("a.good.test", "c.other.test"), []),
        (policy("testing"), policy("none"), []),
        (policy("testing"), policy("testing", max_age=60, mx="mx9.evil.test"), []),
        (policy("testing"), policy(max_age=60), []),
        (policy("none"), policy(mx="mx9.evil.test"), []),
    ],
)
def test_a_policy_is_replaced(old: Policy, new: Policy, kinds: list[WeakeningKind]) -> None:
    """Only what was enforced counts, in each respect in which the new policy is weaker."""
    domain = Domain()
    domain.attempt("a", old)
    assert domain.kinds == []
    domain.attempt("b", new)
    assert domain.kinds == kinds
    domain.attempt("b", new, forced=True)
    assert domain.kinds == []


def test_an_event_says_what_was_and_what_is() -> None:
    """It has the old and the new value, the id in force, the time, and a sentence."""
    domain = Domain()
    domain.attempt("a", policy())
    domain.attempt("b", policy("testing"))
    (event,) = domain.found
    assert event == Weakening(GOOD, MODE, "enforce", "testing", "b", domain.now)
    words = "good.test: its policy is no longer enforced, the mode is testing now"
    assert in_words(event) == words


@pytest.mark.parametrize("kind", WeakeningKind)
def test_each_kind_has_words(kind: WeakeningKind) -> None:
    """The sentence names the domain and the value after the event."""
    sentence = in_words(Weakening(parse_domain("a.test"), kind, "old", "new", "", START))
    assert sentence.startswith("a.test: ")
    assert "new" in sentence


def test_many_patterns_are_shortened() -> None:
    """A list of patterns is cut between two of them, and says how many are left out."""
    domain = Domain()
    domain.attempt("a", several(*(f"a{n}.good.test" for n in range(200))))
    domain.attempt("b", several(*(f"b{n}.good.test" for n in range(200))))
    (event,) = domain.found
    *names, more = event.after.split(" ")
    assert len(event.after) <= TEXT_LIMIT
    assert len(names) + int(more) == 200


def test_a_policy_that_expired_in_between_counts() -> None:
    """The last policy that is known was enforced; nobody asked while it expired."""
    domain = Domain()
    domain.attempt("a", policy(max_age=int(DAY)))
    domain.attempt("b", policy("none"), after=2 * DAY)
    assert domain.kinds == [MODE]


class TestRecord:
    """The TXT record is gone: told once, when it goes."""

    @pytest.fixture
    def domain(self) -> Domain:
        """A domain with an enforced policy."""
        domain = Domain()
        domain.attempt("a", policy())
        return domain

    @pytest.mark.parametrize("error", [MISSING, InvalidRecordError("two records")])
    def test_told_once(self, domain: Domain, error: DiscoveryError) -> None:
        """Neither rechecks nor a DNS failure nor restarts nor renewals for weeks repeat it."""
        domain.attempt(error, policy())
        (event,) = domain.found
        assert (event.kind, event.before, event.policy_id) == (RECORD, "id=a", "a")
        domain.found.clear()
        for served in (policy(), policy(), StatusError("HTTP 404"), SERVFAIL, policy()) * 8:
            for found in (error, SERVFAIL, error):
                domain.attempt(found, served, after=DAY / 3)
                domain.restart()
        assert domain.kinds == []

    def test_it_comes_and_goes(self, domain: Domain) -> None:
        """It is told once in the life of a policy, and again after it was fetched with a record."""
        for _ in range(3):
            domain.attempt(MISSING, policy())
            domain.attempt("a", policy())
        assert domain.kinds == [RECORD]
        domain.attempt("a", policy(), forced=True)
        domain.attempt(MISSING, policy())
        assert domain.kinds == [RECORD]

    def test_while_renewals_fail(self, domain: Domain) -> None:
        """A record that goes while the Policy Host fails is told of, once."""
        for _ in range(5):
            domain.attempt("a", StatusError("HTTP 404"), after=DAY / 2)
        assert domain.kinds == []
        for _ in range(2):
            domain.attempt(MISSING, StatusError("HTTP 404"), after=60)
        assert domain.kinds == [RECORD]

    def test_no_policy_lives(self) -> None:
        """Without an enforced policy in force, a missing record is nothing new."""
        for served in (policy("testing"), policy("none"), policy(max_age=60)):
            domain = Domain()
            domain.attempt("a", served)
            domain.attempt(MISSING, served)
            assert domain.kinds == []

    def test_with_another_mode(self, domain: Domain) -> None:
        """A policy that is fetched without its record and is not enforced is one event."""
        domain.attempt(MISSING, policy("none"), forced=True)
        assert domain.kinds == [MODE]


_RECORDS = st.sampled_from(["a", "b", MISSING, InvalidRecordError("two"), SERVFAIL])
_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["attempt", "forced", "restart", "clock"]),
        _RECORDS,
        st.sampled_from([None, StatusError("HTTP 404"), SERVFAIL]),
        st.sampled_from([1.0, 60.0, 3600.0, DAY, 40 * DAY, -1.0, -3600.0, -40 * DAY]),
    ),
    max_size=30,
)


@given(_STEPS)
def test_nothing_but_weakenings(
    steps: list[tuple[str, str | DiscoveryError, FetchError | DnsFailureError | None, float]],
) -> None:
    """One policy, whatever fails, restarts or does the clock: no event except a record that goes.

    It goes at most once between two answers with a record, as the DNS says.
    """
    domain, was_there = Domain(), 0
    domain.attempt("a", policy())
    for action, record, failure, after in steps:
        if action == "restart":
            domain.restart()
        elif action == "clock":
            domain.now += after
            domain.state = domain.state and believable(domain.state, domain.now)
        else:
            served = failure or policy()
            domain.attempt(record, served, after=abs(after), forced=action == "forced")
            was_there += isinstance(record, str)
    assert set(domain.kinds[was_there + 1 :]) == set()
    assert {each.kind for each in domain.found} <= {RECORD}


class TestDane:
    """DANE protected hosts, and does not any more."""

    @staticmethod
    def kinds(*outcomes: DaneOutcome, every: float = 7 * DAY) -> list[tuple[str, str]]:
        """The events of look-ups one after the other, each when the last verdict has expired."""
        verdict: Verdict | None = None
        found: list[Weakening] = []
        now = START
        for outcome in outcomes:
            after = after_verdict(verdict, outcome, now)
            found += dane_weakenings(GOOD, verdict, after, "a", now)
            verdict = from_text(to_text(after))
            assert verdict == after
            now += every
        return [(each.before, each.after) for each in found]

    @pytest.mark.parametrize("before", [hosts(USABLE, USABLE), hosts(USABLE, ABSENT)])
    @pytest.mark.parametrize("after", [hosts(ABSENT), UNSIGNED, hosts(UNUSABLE), hosts()])
    def test_gone(self, before: DaneOutcome, after: DaneOutcome) -> None:
        """One event when no host can be authenticated any more, and none as long as that lasts."""
        told = [(before.kind, after.kind)]
        assert self.kinds(before, after, after, UNANSWERED, after) == told

    def test_after_a_failure(self) -> None:
        """A DNS that fails for days is no event, and does not hide that DANE is gone after it."""
        partly = hosts(FAILED, ABSENT)
        told = self.kinds(hosts(USABLE), UNANSWERED, partly, UNANSWERED, UNSIGNED, UNSIGNED)
        assert told == [("protected", DaneKind.INSECURE)]

    def test_a_failure_while_the_verdict_is_valid(self) -> None:
        """The same within the life of the verdict."""
        found = self.kinds(hosts(USABLE), UNANSWERED, hosts(ABSENT), every=600)
        assert found == [("all", "none")]

    def test_no_dane_before(self) -> None:
        """A domain without DANE cannot lose it."""
        assert self.kinds(UNSIGNED, UNANSWERED, hosts(ABSENT), hosts(UNUSABLE), UNSIGNED) == []

    def test_some_hosts_are_left(self) -> None:
        """As long as DANE authenticates a host, it is not gone."""
        assert self.kinds(hosts(USABLE, USABLE), hosts(USABLE, ABSENT), hosts(USABLE)) == []


def test_a_flag_in_a_row_survives() -> None:
    """The store keeps that the record is gone, also without a failure."""
    domain = Domain()
    domain.attempt("a", policy())
    domain.attempt(MISSING, policy(), after=DAY)
    assert domain.state
    assert (domain.state.record_was_gone, domain.state.failure) == (True, None)
    assert stored(domain.state, domain.now).record_was_gone
    assert not stored(replace(domain.state, record_was_gone=False), domain.now).record_was_gone
