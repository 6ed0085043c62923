"""How many alerts there are, whatever the owners of domains do."""

from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.admin.alerts.limits import (
    DOMAINS_LIMIT,
    FLAPPING,
    PER_HOUR,
    PER_KIND,
    HourlyLimit,
    Repeats,
)
from postfix_mta_sts.mtasts.lifecycle import DAY, HOUR, WEEK
from postfix_mta_sts.mtasts.weakening import Weakening, WeakeningKind
from postfix_mta_sts.values import replace
from tests.support.records import a_weakening


class TestRepeats:
    """The same event of a domain."""

    def test_once(self) -> None:
        """It is told once a day; another one, or that of another domain, is told at once."""
        repeats, event = Repeats(), a_weakening()
        assert repeats.admit(event, 0)
        assert not repeats.admit(replace(event, at=5e9, policy_id="another"), DAY - 1)
        assert repeats.admit(replace(event, after="none"), DAY - 1)
        assert repeats.admit(a_weakening("other.test"), DAY - 1)
        assert repeats.admit(event, DAY)

    def test_name_servers_that_disagree(self) -> None:
        """What the DNS decides is told once a week."""
        assert {WeakeningKind.RECORD, WeakeningKind.DANE} == FLAPPING
        repeats, event = Repeats(), replace(a_weakening(), kind=WeakeningKind.RECORD)
        told = [hour for hour in range(24 * 21) if repeats.admit(event, hour * HOUR)]
        assert told == [0, WEEK / HOUR, 2 * WEEK / HOUR]

    def test_many_different_ones(self) -> None:
        """A domain that changes all the time has ten events a day, and ten again the next day.

        They hide none of another kind.
        """
        repeats = Repeats()
        events = [a_weakening(before=str(n)) for n in range(1_000)]
        assert sum(repeats.admit(each, 0) for each in events) == PER_KIND
        for kind in set(WeakeningKind) - {events[0].kind}:
            assert repeats.admit(replace(events[0], kind=kind), 0)
        assert sum(repeats.admit(each, DAY) for each in events) == PER_KIND

    def test_many_domains(self) -> None:
        """Of more domains than are remembered, the one that changed the longest ago is told of."""
        repeats = Repeats()
        events = [a_weakening(f"d{n}.test") for n in range(DOMAINS_LIMIT + 1)]
        assert all(repeats.admit(each, 0) for each in events)
        assert not repeats.admit(events[1], 1)
        assert repeats.admit(events[0], 1)


@given(
    st.lists(
        st.tuples(st.sampled_from(WeakeningKind), st.sampled_from("ab"), st.floats(0, 3 * DAY)),
        max_size=60,
    )
)
def test_never_twice_in_a_day(steps: list[tuple[WeakeningKind, str, float]]) -> None:
    """Whatever comes when: no event twice within a day, and no more than ten of a kind."""
    repeats, now, told = Repeats(), 0.0, list[tuple[Weakening, float]]()
    for kind, after, wait in steps:
        now += wait
        event = replace(a_weakening(), kind=kind, after=after)
        if repeats.admit(event, now):
            lately = [each for each, at in told if now - at < DAY]
            assert event not in lately
            assert sum(each.kind is kind for each in lately) < PER_KIND
            told.append((event, now))


def test_runs_in_an_hour() -> None:
    """In any hour there are at most 20 runs; it says how long to wait for the next."""
    limit = HourlyLimit()
    for minute in range(PER_HOUR):
        assert limit.wait(minute * 60) == 0
        limit.take(minute * 60)
    assert limit.wait(1_200) == HOUR - 1_200
    assert limit.wait(HOUR) == 0
    limit.take(HOUR)
    assert limit.wait(HOUR) == 60
