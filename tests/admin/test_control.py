"""The operations of the control socket, on a resolver and a store in memory."""

import asyncio
from collections.abc import Sequence
from itertools import islice
from typing import Final

import pytest

from postfix_mta_sts.admin.known_domains import PAGE
from postfix_mta_sts.admin.serialize import JsonObject, PolicyFilter
from postfix_mta_sts.mtasts.domain import Domain, parse_domain
from postfix_mta_sts.mtasts.errors import (
    DnsFailureError,
    NoRecordError,
    OwnFaultError,
    StatusError,
)
from postfix_mta_sts.mtasts.lifecycle import DAY, HOUR
from postfix_mta_sts.mtasts.policy import Mode
from postfix_mta_sts.postfix.answers import Answering, ServedMap
from postfix_mta_sts.postfix.protocol.reply import ReplyFormat
from postfix_mta_sts.stats.labels import Answer, Part, Source
from postfix_mta_sts.store import Row, RowFilter
from postfix_mta_sts.store.memory import MemoryStore
from tests.support.control import ControlledDaemon
from tests.support.resolvers import find_state
from tests.support.states import a_state
from tests.support.surroundings import GOOD, START, Surroundings

OTHER: Final = parse_domain("other.test")
EVERYTHING: Final = PolicyFilter()


class HugeStore(MemoryStore):
    """A store with many rows, which are created as they are read; `read` counts them."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.read = 0
        self._names = (Domain(f"d{n:06}.test") for n in range(rows))

    async def page(self, query: RowFilter, after: Domain | None, limit: int) -> Sequence[Row]:
        """Return the next rows; `Store`. It can be read once, from beginning to end."""
        state = a_state(fetched_at=query.now)
        rows = [Row(name, state, query.now) for name in islice(self._names, limit)]
        assert not rows or after is None or after < rows[0].domain
        self.read += len(rows)
        return rows


async def listed(daemon: ControlledDaemon, wanted: PolicyFilter = EVERYTHING) -> list[JsonObject]:
    """Return a whole list."""
    return [entry async for entry in daemon.control.policies(wanted)]


async def domains(daemon: ControlledDaemon, wanted: PolicyFilter) -> list[str]:
    """Return the domains of a list."""
    return [entry["domain"] for entry in await listed(daemon, wanted)]


@pytest.fixture
def around() -> Surroundings:
    """Two domains with a policy, one whose fetch fails, one whose DNS fails, and no others."""
    made = Surroundings()
    made.publish(GOOD)
    made.publish(OTHER, mode="testing")
    made.publish(bad := parse_domain("bad.test"))
    made.policies[bad] = StatusError("404")
    made.records[parse_domain("dark.test")] = DnsFailureError("SERVFAIL")
    return made


ALL: Final = tuple(
    map(parse_domain, ("good.test", "other.test", "bad.test", "dark.test", "no.test"))
)


async def look_up(daemon: ControlledDaemon, *asked: Domain) -> None:
    """Look domains up as Postfix does, all of them by default."""
    for domain in asked or ALL:
        await find_state(daemon.resolver, domain)
    await daemon.around.store.touch(daemon.resolver.usage.take())


class TestStatus:
    """The state of the daemon."""

    async def test_status(self, around: Surroundings) -> None:
        """The configuration, policies and work of the daemon."""
        daemon = ControlledDaemon(around)
        await look_up(daemon)
        daemon.counters.answers[Answer.FOUND, Source.NETWORK] += 2
        daemon.not_working.add(Part.DNS)
        answer = await daemon.control.status()
        assert answer["pid"] == 100
        assert answer["started_at"] == START - 3600
        assert answer["configured_at"] == START - 60.25
        assert answer["config"] == "/etc/test.yml"
        assert answer["listening"] == ["socketmap 127.0.0.1:8461"]
        assert answer["policies"]["by_mode"] == {"enforce": 1, "testing": 1, "none": 0}
        assert answer["next_renewal_at"] == START + 30
        assert answer["lookups"]["by_answer"]["found"] == 2
        assert answer["attempts"]["ended"]["dns"] == {
            "dns-failure": 1,
            "no-record": 1,
            "success": 3,
        }
        assert answer["attempts"]["ended"]["https"] == {"status": 1, "success": 2}
        assert answer["memory"]["domains"] == len(ALL)
        assert answer["not_working"] == ["dns"]

    async def test_trial(self, around: Surroundings) -> None:
        """Whether policies are on trial, for each map and for those that no setting names."""
        daemon = ControlledDaemon(around)
        on_trial = ServedMap("QUERY", reply_format=ReplyFormat(trial=True))
        daemon.answering = Answering(maps=(ServedMap("postfix"), on_trial))
        trial = (await daemon.control.status())["trial"]
        assert trial == {"maps": {"postfix": False, "QUERY": True}, "other": False}

    async def test_snapshot(self, around: Surroundings) -> None:
        """The counters and gauges are those of the daemon."""
        daemon = ControlledDaemon(around)
        await look_up(daemon)
        assert (await daemon.control.snapshot()).domains == len(ALL)


class TestList:
    """The policy list."""

    async def test_all(self, around: Surroundings) -> None:
        """Domains with a policy are listed in order, with what store and memory hold."""
        daemon = ControlledDaemon(around)
        await look_up(daemon)
        good, other = await listed(daemon)
        assert (good["domain"], good["mode"], good["id"]) == ("good.test", "enforce", "a")
        assert (good["mx"], good["fetched_at"]) == (["mx1.good.test"], START)
        assert (good["asked_at"], good["asked_count"]) == (START, 1)
        assert (other["domain"], other["mode"]) == ("other.test", "testing")

    async def test_filters(self, around: Surroundings) -> None:
        """The list contains what matches the filter."""
        daemon = ControlledDaemon(around)
        await look_up(daemon)
        assert await domains(daemon, PolicyFilter(mode=Mode.TESTING)) == ["other.test"]
        assert await domains(daemon, PolicyFilter(failing=True)) == ["bad.test", "dark.test"]
        assert await domains(daemon, PolicyFilter(expiring_in=604_800)) == []
        around.now += 1
        assert len(await domains(daemon, PolicyFilter(expiring_in=604_800))) == 2

    async def test_asked_within(self, around: Surroundings) -> None:
        """Domains that were asked for lately, with look-ups that are not written yet."""
        daemon = ControlledDaemon(around)
        await look_up(daemon)
        around.now += 2 * DAY
        lately = PolicyFilter(asked_within=2 * 86_400 - 60)
        assert await domains(daemon, lately) == []
        daemon.resolver.usage.note(GOOD, 4, around.now)
        assert await domains(daemon, lately) == ["good.test"]
        assert await domains(daemon, PolicyFilter(asked_within=3 * 86_400)) == [GOOD, OTHER]
        [good] = await listed(daemon, lately)
        assert good["asked_days"] == {"2026-09-21": 1, "2026-09-23": 4}

    async def test_failing_and_asked_within(self, around: Surroundings) -> None:
        """A domain without a policy, of which the store knows nothing, counts by memory."""
        daemon = ControlledDaemon(around)
        await look_up(daemon)
        failing = PolicyFilter(failing=True, asked_within=60)
        assert await domains(daemon, failing) == ["bad.test", "dark.test"]
        around.now += 120
        assert await domains(daemon, failing) == []

    async def test_why(self, around: Surroundings) -> None:
        """An answer has its reason, so that "not found" can be told apart."""
        daemon = ControlledDaemon(around)
        await look_up(daemon)
        assert [(e["answer"], e["why"]) for e in await listed(daemon)] == [
            ("secure", "enforce"),
            ("not-found", "testing"),
        ]
        [bad, *_] = await listed(daemon, PolicyFilter(failing=True))
        assert (bad["answer"], bad["why"]) == ("not-found", "no-policy")

    async def test_failing_policy(self, around: Surroundings) -> None:
        """A policy in force whose renewal fails is listed with the failure."""
        daemon = ControlledDaemon(around)
        await look_up(daemon, GOOD)
        around.policies[GOOD] = StatusError("503")
        around.now += 2 * DAY
        await look_up(daemon, GOOD)
        await daemon.resolver.renew(GOOD)
        (entry,) = await listed(daemon, PolicyFilter(failing=True))
        assert (entry["mode"], entry["failure"]["reason"]) == ("enforce", "503")

    async def test_order(self, around: Surroundings) -> None:
        """Stored rows and failing states in memory form one list, with each domain once."""
        around.records[parse_domain("aaa.test")] = DnsFailureError("SERVFAIL")
        around.records[parse_domain("zzz.test")] = DnsFailureError("SERVFAIL")
        daemon = ControlledDaemon(around)
        await look_up(daemon, *ALL, parse_domain("aaa.test"), parse_domain("zzz.test"))
        for domain in (GOOD, OTHER):
            around.policies[domain] = StatusError("404")
            await daemon.control.refresh(domain)
        failing = await domains(daemon, PolicyFilter(failing=True))
        assert failing == [
            "aaa.test",
            "bad.test",
            "dark.test",
            "good.test",
            "other.test",
            "zzz.test",
        ]
        assert await domains(daemon, PolicyFilter()) == ["good.test", "other.test"]

    async def test_incomplete(self, around: Surroundings) -> None:
        """If the store cannot be read, the list says that it is not complete."""
        daemon = ControlledDaemon(around)
        daemon.not_working.add(Part.STORE_READING)
        assert "not complete" in (await listed(daemon))[-1]["error"]

    @pytest.mark.usefixtures("uncovered")
    async def test_many_rows(self) -> None:
        """A list of 100,000 rows holds one page at a time."""
        store = HugeStore(100_000)
        daemon = ControlledDaemon(Surroundings(store=store))
        count = 0
        async for entry in daemon.control.policies(PolicyFilter()):
            assert entry["domain"] == f"d{count:06}.test"
            assert store.read - count <= PAGE
            count += 1
        assert count == 100_000


class TestShow:
    """All that is known of one domain."""

    async def test_policy(self, around: Surroundings) -> None:
        """The answer has the policy, its times, the number of look-ups, and the history."""
        daemon = ControlledDaemon(around)
        await look_up(daemon, GOOD)
        around.publish(GOOD, policy_id="b", mode="none")
        around.now += HOUR
        await look_up(daemon, GOOD)
        await daemon.resolver.renew(GOOD)
        answer = await daemon.control.show(GOOD)
        assert (answer["known"], answer["in_force"]) == (True, True)
        assert (answer["policy"]["mode"], answer["policy"]["id"]) == ("none", "b")
        assert answer["policy"]["text"].startswith("version: STSv1\n")
        assert (answer["asked_at"], answer["asked_count"]) == (START + HOUR, 2)
        assert [seen["id"] for seen in answer["history"]] == ["b", "a"]

    async def test_asked_just_now(self, around: Surroundings) -> None:
        """Look-ups that are not stored yet count too."""
        daemon = ControlledDaemon(around)
        await look_up(daemon, GOOD)
        around.now += 7
        daemon.resolver.usage.note(GOOD, 2, around.now)
        answer = await daemon.control.show(GOOD)
        assert (answer["asked_at"], answer["asked_count"]) == (START + 7, 3)

    async def test_absence(self, around: Surroundings) -> None:
        """The answer for an absence has its reason."""
        daemon = ControlledDaemon(around)
        await look_up(daemon)
        answer = await daemon.control.show(parse_domain("bad.test"))
        assert (answer["known"], answer["in_force"], answer["policy"]) == (True, False, None)
        assert answer["failure"]["stage"] == "https"
        assert (answer["backoffs"][0]["id"], answer["history"]) == ("a", [])

    async def test_nothing(self, around: Surroundings) -> None:
        """For a domain that was never looked up nothing is known, and the network is not asked."""
        answer = await ControlledDaemon(around).control.show(GOOD)
        assert answer == {
            "domain": GOOD,
            "known": False,
            "answer": None,
            "why": None,
            "reply": None,
            "replies": [{"map": "postfix", "wire": "socketmap", "reply": None}],
            "exception": None,
            "attempt": None,
            "in_force": False,
            "asked_at": None,
            "asked_count": 0,
            "history": [],
        }
        assert around.queries.total == 0

    async def test_expired(self, around: Surroundings) -> None:
        """An expired policy is shown as not in force."""
        daemon = ControlledDaemon(around)
        await look_up(daemon, GOOD)
        around.now += 8 * DAY
        answer = await daemon.control.show(GOOD)
        assert (answer["known"], answer["in_force"]) == (True, False)


class TestAnswers:
    """What Postfix is told for a key."""

    async def test_known(self, around: Surroundings) -> None:
        """The reply of a domain that is known, which is not used by that."""
        daemon = ControlledDaemon(around)
        await look_up(daemon, GOOD)
        told = await daemon.control.answers("[Good.test]:587")
        reply = "OK secure match=mx1.good.test servername=hostname"
        assert told == {
            "key": "[Good.test]:587",
            "domain": GOOD,
            "replies": [{"map": "postfix", "wire": "socketmap", "reply": reply}],
            "other": reply,
        }
        assert (await daemon.control.show(GOOD))["replies"] == told["replies"]
        assert daemon.resolver.usage.get(GOOD) is None

    async def test_unknown(self, around: Surroundings) -> None:
        """The network is not asked for a domain that is not known."""
        told = await ControlledDaemon(around).control.answers("good.test")
        assert [each["reply"] for each in told["replies"]] == [None]
        assert around.queries.total == 0

    async def test_no_domain(self, around: Surroundings) -> None:
        """A key that names no Policy Domain has its reply at once."""
        told = await ControlledDaemon(around).control.answers(".good.test")
        assert (told["domain"], told["replies"][0]["reply"]) == (None, "NOTFOUND")


class TestRefresh:
    """An attempt on demand."""

    async def test_fetched(self, around: Surroundings) -> None:
        """The policy is fetched even if the id has not changed, and is in force from then on."""
        daemon = ControlledDaemon(around)
        await look_up(daemon, GOOD)
        around.publish(GOOD, mode="testing")
        answer = await daemon.control.refresh(GOOD)
        assert (answer["outcome"], answer["policy"]["mode"]) == ("fetched", "testing")
        state = await find_state(daemon.resolver, GOOD)
        assert state
        assert state.policy
        assert state.policy.mode is Mode.TESTING

    @pytest.mark.parametrize(
        ("domain", "outcome"),
        [("good.test", "fetched"), ("bad.test", "failed"), ("no.test", "no-policy")],
    )
    async def test_outcome(self, around: Surroundings, domain: str, outcome: str) -> None:
        """The outcome is one word for programs, even if the state is not cached."""
        answer = await ControlledDaemon(around).control.refresh(parse_domain(domain))
        assert (answer["outcome"], answer["known"]) == (outcome, True)

    async def test_limit_of_attempts(self, around: Surroundings) -> None:
        """If the daemon itself has taken all attempts, the outcome says so."""
        around.dns.hold()
        daemon = ControlledDaemon(around, attempts=1)
        other = asyncio.create_task(daemon.control.refresh(OTHER))
        await around.queries.reached(OTHER)
        answer = await daemon.control.refresh(GOOD)
        assert (answer["outcome"], answer["known"], around.queries[GOOD]) == ("busy", False, 0)
        around.dns.release()
        await other

    async def test_own_fault(self, around: Surroundings) -> None:
        """A fault of the daemon fetches nothing, though a policy stays in force."""
        daemon = ControlledDaemon(around)
        await look_up(daemon, GOOD)
        around.records[GOOD] = OwnFaultError("the network process ended")
        answer = await daemon.control.refresh(GOOD)
        assert (answer["outcome"], answer["in_force"]) == ("busy", True)

    async def test_failure_keeps_the_policy(self, around: Surroundings) -> None:
        """A policy stays in force if its renewal fails; the answer has both."""
        daemon = ControlledDaemon(around)
        await look_up(daemon, GOOD)
        around.records[GOOD] = NoRecordError("NXDOMAIN")
        around.policies[GOOD] = StatusError("404")
        answer = await daemon.control.refresh(GOOD)
        assert (answer["outcome"], answer["in_force"], answer["policy"]["id"]) == (
            "failed",
            True,
            "a",
        )


class TestForget:
    """Removal of a domain."""

    async def test_everywhere(self, around: Surroundings) -> None:
        """Memory, store and history have nothing left."""
        daemon = ControlledDaemon(around)
        await look_up(daemon, GOOD)
        answer = await daemon.control.forget(GOOD)
        assert answer == {"domain": GOOD, "known": True, "kept_on_file": False}
        assert not (await daemon.control.show(GOOD))["known"]
        assert daemon.resolver.entry(GOOD) is None
        assert await around.store.row(GOOD) is None
        assert not (await daemon.control.forget(GOOD))["known"]

    async def test_store_that_cannot_be_written(self, around: Surroundings) -> None:
        """The answer says that a stored policy may come back."""
        daemon = ControlledDaemon(around)
        daemon.not_working.add(Part.STORE_WRITING)
        assert (await daemon.control.forget(GOOD))["kept_on_file"]
