"""The daemon's report of a trial: the policy list, joined with the checks."""

from collections.abc import AsyncGenerator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.admin.serialize import JsonObject, PolicyFilter
from postfix_mta_sts.admin.trial import Trial, TrialFacts, Why
from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.config.settings import (
    ListenerSettings,
    MapSettings,
    Settings,
    TrialSettings,
)
from postfix_mta_sts.mtasts.check import Check, CheckResult
from postfix_mta_sts.mtasts.dane import DaneOutcome, Host, HostState
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.exceptions import Exceptions, Use, parse_exception, parse_scope
from postfix_mta_sts.postfix.answers import ServedMap
from postfix_mta_sts.postfix.protocol.reply import PLAIN
from postfix_mta_sts.store.fleet.requests import Checks
from postfix_mta_sts.store.memory_records import MemoryRecords
from postfix_mta_sts.values import replace
from tests.support.control import ControlledDaemon
from tests.support.fleet_asked import FakeFleet
from tests.support.resolvers import look_up
from tests.support.surroundings import GOOD, Surroundings, signed

NOW = 1_790_000_000.0
"""2026-09-21, 14:13:20 UTC."""
DAY = 86_400


def entry(domain: str, mode: str | None = "enforce", expires_at: float = NOW + 1) -> JsonObject:
    """An entry of the policy list."""
    days = {"2026-09-13": 100, "2026-09-14": 10, "2026-09-21": 5}
    policy_id = "a" if mode else None
    return {
        "domain": domain,
        "mode": mode,
        "id": policy_id,
        "expires_at": expires_at,
        "asked_days": days,
    }


def check(domain: str, result: CheckResult = CheckResult.HELD) -> Check:
    """A check of the policy of a domain."""
    return Check(Domain(domain), result, "Mail is held", "no-starttls", "theirs", "a", NOW, NOW)


async def report(
    entries: Sequence[JsonObject],
    checks: Sequence[Check] = (),
    facts: TrialFacts | None = None,
    within: int = 7 * DAY,
    why: str = "enforce",
    shared: FakeFleet | None = None,
) -> list[JsonObject]:
    """The objects of a report."""
    records, wanted = MemoryRecords(), list[PolicyFilter]()
    for each in checks:
        await records.put_check(each)

    async def policies(asked: PolicyFilter) -> AsyncGenerator[tuple[JsonObject, Why]]:
        wanted.append(asked)
        for each in entries:
            yield each, lambda: why

    facts = facts or TrialFacts(("postfix",), ())
    fleet = shared.fleet if shared else None
    trial = Trial(policies, records, lambda: facts, lambda: NOW, lambda: fleet)
    found = [each async for each in trial.report(within)]
    assert wanted == [PolicyFilter(asked_within=within)]
    return found


async def test_facts() -> None:
    """The first object says what is on trial, and since when look-ups are counted."""
    facts = TrialFacts(("a",), ("b",), dane=True, every=21_600.0)
    (first,) = await report([], facts=facts)
    trial = {"on": ["a"], "off": ["b"], "dane": True, "every": 21_600}
    assert first == {"trial": trial, "first_day": "2026-09-14"}


async def test_finding() -> None:
    """A domain has its check, and its look-ups since the first day."""
    _, found = await report([entry("good.test")], [check("good.test")])
    assert (found["outcome"], found["look_ups"]) == ("held", 15)
    assert (found["sentence"], found["fault"]) == ("Mail is held", "theirs")
    _, found = await report([entry("good.test")], within=DAY)
    assert (found["outcome"], found["why"], found["look_ups"]) == ("not-checked", "never", 5)


@pytest.mark.parametrize("why", ["dane", "dane-unknown"])
async def test_dane(why: str) -> None:
    """Where DANE decides now and later, a policy changes nothing, unless DANE is on trial, too."""
    listed, checks = [entry("good.test")], [check("good.test")]
    _, found = await report(listed, checks, why=why)
    assert (found["outcome"], found["why"]) == ("not-enforced", "dane")
    _, found = await report(listed, checks, TrialFacts(("postfix",), (), dane=True), why=why)
    assert found["outcome"] == "held"


async def test_expired() -> None:
    """A policy that has expired is not enforced."""
    _, found = await report([entry("good.test", expires_at=NOW)], [check("good.test")])
    assert (found["outcome"], found["why"], found["mode"]) == ("not-enforced", "no-policy", None)


async def test_exception() -> None:
    """An exception counts until its end."""
    for until, outcome in ((NOW + 1, "not-enforced"), (NOW, "held")):
        scope = parse_scope("*.test", anyway=True)
        made = parse_exception(scope, Use.MAY, "a reason", until)
        facts = TrialFacts(("postfix",), (), exceptions=Exceptions(added={scope: made}))
        _, found = await report([entry("good.test")], [check("good.test")], facts)
        assert found["outcome"] == outcome


async def test_pin_without_a_policy() -> None:
    """A pin holds mail of a domain that publishes nothing, too, and each domain is listed once."""
    pin = parse_exception(parse_scope("*.test", anyway=True), Use.PIN, "x", NOW + 1, mx=("mx.a",))
    facts = TrialFacts(("postfix",), (), exceptions=Exceptions(added={pin.scope: pin}))
    names = ["a.test", "b.test", "c.test", "d.test", "e.test"]
    checks = [replace(check(each), policy_id="") for each in names]
    checks[2] = check("c.test")  # of a policy, before the pin
    checks[3] = replace(checks[3], checked_at=NOW - 2 * DAY)
    listed = [entry("b.test"), entry("bb.test")]
    found = await report(listed, checks, facts, within=DAY)
    told = [(each["domain"], each["outcome"], each["look_ups"]) for each in found[1:]]
    assert told == [
        ("a.test", "held", None),
        ("b.test", "held", 5),
        ("bb.test", "not-checked", 5),
        ("e.test", "held", None),
    ]
    pin = replace(pin, until=NOW)
    facts = TrialFacts(("postfix",), (), exceptions=Exceptions(added={pin.scope: pin}))
    assert len(await report([], checks, facts)) == 1


async def test_error() -> None:
    """A store that cannot be read ends the report with its error."""
    *_, last = await report([entry("a.test"), {"error": "the store cannot be read"}])
    assert last == {"error": "the store cannot be read"}


HALF_SIGNED = replace(
    signed(),
    hosts=(*signed().hosts, Host("mx2.good.test", HostState.ABSENT, "TLSA")),
)


@pytest.mark.parametrize(
    ("verdict", "on_trial", "why"),
    [
        (signed(HostState.UNUSABLE), "dane", "enforce"),
        (HALF_SIGNED, "dane", "enforce"),
        (signed(), "dane-only", "dane"),
    ],
)
async def test_what_is_answered_without_the_trial(
    verdict: DaneOutcome, on_trial: str, why: str
) -> None:
    """A policy decides if TLSA records are unusable, and if not all hosts have them.

    Then no host without them gets mail.
    """
    around = Surroundings()
    around.publish()
    around.verdicts[GOOD] = verdict
    daemon = ControlledDaemon(around)
    daemon.use_dane(around.look_up_dane)
    await look_up(daemon.resolver)
    tried = ServedMap("postfix", reply_format=replace(PLAIN, trial=True))
    daemon.answering = replace(daemon.answering, maps=(tried,))
    ((listed, found),) = [each async for each in daemon.control.policies_on_trial(PolicyFilter())]
    assert (listed["domain"], listed["answer"], found()) == (GOOD, on_trial, why)


NAMES = [f"d{n:04}.test" for n in range(1_500)]


async def test_pages() -> None:
    """More checks than a page has are joined with their domains."""
    found = await report([entry(n) for n in NAMES], [check(n) for n in NAMES[::3]])
    assert [e["domain"] for e in found[1:] if e["outcome"] == "held"] == NAMES[::3]
    found = await report([entry(n) for n in NAMES[::7]], [check(n) for n in NAMES])
    assert [e["domain"] for e in found[1:] if e["outcome"] == "held"] == NAMES[::7]


@given(
    st.sets(st.sampled_from(NAMES[:40])),
    st.sets(st.sampled_from(NAMES[:40])),
)
async def test_any_join(listed: set[str], checked: set[str]) -> None:
    """Each domain of the list is reported once, with its check if there is one."""
    found = await report([entry(n) for n in sorted(listed)], [check(n) for n in sorted(checked)])
    held = {each["domain"] for each in found[1:] if each["outcome"] == "held"}
    assert [each["domain"] for each in found[1:]] == sorted(listed)
    assert held == listed & checked


def test_facts_of_settings() -> None:
    """Each map is on trial by its own key, else by that of all; so is a listener without names."""
    listeners = (
        ListenerSettings(socketmap=TcpAddress("127.0.0.1", 8461)),
        ListenerSettings(tcp_table=TcpAddress("127.0.0.1", 8462)),
    )
    settings = Settings(
        listen=listeners,
        maps={"postfix": MapSettings(enforce_testing=True), "QUERY": MapSettings(trial=False)},
        trial=TrialSettings(enabled=True, dane=True, every=43_200.0),
    )
    facts = TrialFacts.of(settings, Exceptions())
    assert facts.on == ("postfix", "tcp_table 127.0.0.1:8462")
    assert facts.off == ("QUERY",)
    assert (facts.dane, facts.every, facts.enforces_testing) == (True, 43_200, True)


def offered(*checks: Check) -> FakeFleet:
    """A shared store with these checks."""
    return FakeFleet(ReadChecks=Checks(checks, ""))


class TestFleet:
    """The report of a relay whose fleet has made checks, too."""

    async def test_later(self) -> None:
        """Of the own check and that of another relay, the later one counts."""
        ours, theirs = check("good.test"), check("good.test", CheckResult.DELIVERED)
        for at, outcome in ((NOW - 1, "held"), (NOW + 1, "delivered")):
            found = offered(replace(theirs, checked_at=at))
            _, finding = await report([entry("good.test")], [ours], shared=found)
            assert finding["outcome"] == outcome

    async def test_other_policy(self) -> None:
        """A later check of another policy than the one in force does not count."""
        later = replace(
            check("good.test", CheckResult.DELIVERED), policy_id="b", checked_at=NOW + 9
        )
        listed = [entry("good.test")]
        _, finding = await report(listed, [check("good.test")], shared=offered(later))
        assert finding["outcome"] == "held"
        _, finding = await report(listed, shared=offered(later))
        assert (finding["outcome"], finding["why"]) == ("not-checked", "older-policy")

    async def test_unlisted(self) -> None:
        """A domain that only other relays were asked for is in the report, in its order."""
        elsewhere = offered(check("a.test"), check("m.test", CheckResult.DELIVERED))
        _, first, second, third = await report([entry("b.test")], shared=elsewhere)
        assert (first["domain"], first["outcome"]) == ("a.test", "held")
        assert (first["id"], first["look_ups"], first["mode"]) == ("a", None, None)
        assert (second["domain"], second["outcome"]) == ("b.test", "not-checked")
        assert (third["domain"], third["outcome"]) == ("m.test", "delivered")

    async def test_old(self) -> None:
        """A domain that was checked before the time of the report is not in it."""
        old = replace(check("a.test"), checked_at=NOW - 8 * DAY)
        assert len(await report([], shared=offered(old))) == 1

    async def test_own_check_is_as_new(self) -> None:
        """A domain that this relay checked last, and lists no more, is not in the report."""
        assert len(await report([], [check("a.test")], shared=offered(check("a.test")))) == 1

    async def test_exception(self) -> None:
        """An exception of this relay counts for a domain of others, too; so does a pin."""
        scope = parse_scope("a.test", anyway=False)
        for use, mx, outcome in ((Use.MAY, (), "not-enforced"), (Use.PIN, ("mx.test",), "held")):
            made = parse_exception(scope, use, "a reason", None, mx=mx)
            facts = TrialFacts(("postfix",), (), exceptions=Exceptions(added={scope: made}))
            there = check("a.test") if use is Use.MAY else replace(check("a.test"), policy_id="")
            _, finding = await report([], facts=facts, shared=offered(there))
            assert finding["outcome"] == outcome

    async def test_pin_here(self) -> None:
        """A pin that was checked here is listed once."""
        scope = parse_scope("a.test", anyway=False)
        made = parse_exception(scope, Use.PIN, "a reason", None, mx=("mx.test",))
        facts = TrialFacts(("postfix",), (), exceptions=Exceptions(added={scope: made}))
        pinned = replace(check("a.test"), policy_id="")
        later = replace(pinned, checked_at=NOW + 1)
        assert len(await report([], [pinned], facts, shared=offered(later))) == 2

    async def test_no_answer(self) -> None:
        """If the shared store does not answer, the report says what is missing, at its end."""
        *_, finding, last = await report([entry("a.test")], shared=FakeFleet())
        assert finding["outcome"] == "not-checked"
        assert last == {"incomplete": "the shared store: connection refused"}

    @given(st.sets(st.sampled_from("abcdef")), st.sets(st.sampled_from("abcdef")))
    async def test_each_once(self, listed: set[str], elsewhere: set[str]) -> None:
        """Each domain is listed once, in order, whichever relay knows it."""
        checks = [check(f"{name}.test") for name in sorted(elsewhere)]
        entries = [entry(f"{name}.test") for name in sorted(listed)]
        _, *found = await report(entries, shared=offered(*checks))
        names = [each["domain"] for each in found]
        assert names == sorted({f"{name}.test" for name in listed | elsewhere})
