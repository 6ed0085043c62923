"""The schedule: the same for the same seed, bounded in time, and read back as printed."""

from collections import Counter

import pytest

from tests.torture import domains, schedule
from tests.torture.schedule import COOL_DOWN, EPISODES, Action, build, parse

TEN_MINUTES = 600.0


def test_one_seed_gives_one_schedule() -> None:
    """Everything comes from the seed."""
    assert build(3, 60) == build(3, 60)
    assert build(3, 60) != build(4, 60)


def test_a_printed_schedule_is_read_back() -> None:
    """Lines that are no action are left out."""
    printed = "seed 3\n" + "\n".join(map(str, build(3, 60)))
    assert "\n".join(map(str, parse(printed))) == printed.partition("\n")[2]


@pytest.mark.parametrize("seed", range(20))
def test_ten_minutes_have_each_episode(seed: int) -> None:
    """Each kind of fault comes at least once, and all are over before the end."""
    actions = build(seed, TEN_MINUTES)
    assert {a.detail for a in actions if a.what == "episode"} == set(EPISODES)
    assert max(action.at for action in actions) <= TEN_MINUTES - COOL_DOWN


@pytest.mark.parametrize("name", EPISODES)
@pytest.mark.parametrize("seed", range(5))
def test_an_episode_ends_what_it_begins(name: str, seed: int) -> None:
    """After an episode no fault lasts, the daemon runs, and the clock is not behind."""
    actions = build(seed, 120, [name])
    count = Counter(action.what for action in actions)
    assert count["episode"] > 0
    assert count["begin"] == count["end"]
    assert count["kill-daemon"] == count["start-daemon"]
    assert count["stop-network"] == count["continue-network"]
    assert sum(float(a.detail) for a in actions if a.what == "clock") > -1
    assert max(a.at for a in actions) <= 120


def test_a_run_can_be_without_hostile_domains() -> None:
    """Then every new domain has a right answer."""
    asked = {a.detail.split()[1] for a in build(1, 60, hostile=False) if a.what == "ask"}
    kinds = {"".join(filter(str.isalpha, domain.partition(".")[0])) for domain in asked}
    assert kinds <= {*domains.HEALTHY, "tarpit"}


@pytest.mark.parametrize("kind", [*domains.KNOWN, *domains.HEALTHY, *domains.HOSTILE, "tarpit"])
def test_a_domain_is_known_by_its_name(kind: str) -> None:
    """Its name says what it publishes and with whom it shares a certificate."""
    name = domains.name(kind, 1234)
    assert domains.site(name).domain == name
    assert name in domains.group(name)
    assert len(domains.group(name)) == domains.PER_GROUP


def test_other_names_are_no_domains() -> None:
    """The servers know only the domains of the run."""
    with pytest.raises(ValueError, match="no domain of this run"):
        domains.site("evil.test")


def test_actions_are_printed_with_their_time() -> None:
    """A line is easy to find again by the time of a violation."""
    assert str(Action(1.5, "begin", "dns-silent")) == "1.500 begin dns-silent"
    assert str(Action(2, "kill-daemon")) == "2.000 kill-daemon"
    assert schedule.parse("2.000 kill-daemon") == [Action(2.0, "kill-daemon")]
