"""What a daemon knows as a whole: of this process, of its siblings, of the store."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.admin.control import PAGE, by_domain
from postfix_mta_sts.admin.processes import Sibling
from postfix_mta_sts.admin.types import JsonObject, PolicyFilter, Witness
from postfix_mta_sts.mtasts.domain import Domain, parse_domain
from postfix_mta_sts.mtasts.errors import DnsFailureError, NoRecordError, StatusError
from postfix_mta_sts.mtasts.lifecycle import DAY, HOUR
from postfix_mta_sts.mtasts.policy import Mode
from postfix_mta_sts.stats import Answer, Part, Snapshot, Source
from postfix_mta_sts.store import Row, RowFilter
from postfix_mta_sts.store.memory import MemoryStore
from tests.support.control import Worker
from tests.support.states import a_state
from tests.support.surroundings import GOOD, START, Surroundings

OTHER: Final = parse_domain("other.test")


EVERYTHING: Final = PolicyFilter()
SILENT: Final = Sibling(Path("/nobody/here.sock"))
"""A sibling that has just died."""


class Vast(MemoryStore):
    """A store of so many rows, made as they are read; `given` is how many that were."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.given = 0
        self._names = (Domain(f"d{n:06}.test") for n in range(rows))

    async def page(self, query: RowFilter, after: Domain | None, limit: int) -> Sequence[Row]:
        """See `Store`; read from its beginning to its end, once."""
        state = a_state(fetched_at=query.now)
        rows = [Row(name, state, query.now) for name in islice(self._names, limit)]
        assert not rows or after is None or after < rows[0].domain
        self.given += len(rows)
        return rows


def workers(*arounds: Surroundings, unanswered: bool = False) -> list[Worker]:
    """Processes that know each other, with one store; the first may have one that is silent."""
    made: list[Worker] = []
    for index, around in enumerate(arounds):
        around.store = arounds[0].store
        siblings: dict[int, Witness] = {n: worker.control.own for n, worker in enumerate(made)}
        made.append(Worker(around, index, siblings | ({9: SILENT} if unanswered else {})))
    return made[::-1]


async def listed(worker: Worker, wanted: PolicyFilter = EVERYTHING) -> list[JsonObject]:
    """A whole list."""
    return [entry async for entry in worker.control.policies(wanted)]


async def domains(worker: Worker, wanted: PolicyFilter) -> list[str]:
    """The domains of a list."""
    return [entry["domain"] for entry in await listed(worker, wanted)]


@pytest.fixture
def around() -> Surroundings:
    """A domain with a policy, one that fails, one whose DNS is silent, one without."""
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


async def looked_up(worker: Worker, *asked: Domain) -> None:
    """Look domains up, as Postfix does."""
    for domain in asked or ALL:
        await worker.resolver.look_up(domain)
    await worker.around.store.touch(worker.resolver.usage.take())


class TestStatus:
    """How the daemon fares."""

    async def test_one_process(self, around: Surroundings) -> None:
        """What it is, what it has, and what it has done."""
        worker = Worker(around)
        await looked_up(worker)
        worker.counters.answers[Answer.FOUND, Source.NETWORK] += 2
        worker.not_working.add(Part.DNS)
        said = await worker.control.status()
        assert said["pid"] == 100
        assert said["started_at"] == START - 3600
        assert said["config"] == "/etc/test.yml"
        assert said["listening"] == ["socketmap 127.0.0.1:8461"]
        assert said["processes"] == {"wanted": 1, "answering": [100]}
        assert said["policies"]["by_mode"] == {"enforce": 1, "testing": 1, "none": 0}
        assert said["next_renewal_at"] == START + 30
        assert said["lookups"]["by_answer"]["found"] == 2
        assert said["attempts"]["ended"]["dns"] == {"dns-failure": 1, "no-record": 1, "success": 3}
        assert said["attempts"]["ended"]["https"] == {"status": 1, "success": 2}
        assert said["memory"]["domains"] == len(ALL)
        assert said["not_working"] == ["dns"]

    async def test_several(self, around: Surroundings) -> None:
        """Numbers of all processes are added up; one that is silent is missing."""
        first, second = workers(around, Surroundings(), unanswered=True)
        for worker in (first, second):
            worker.counters.answers[Answer.FOUND, Source.MEMORY] += 3
        said = await first.control.status()
        assert said["lookups"]["by_answer"]["found"] == 6
        assert said["processes"] == {"wanted": 3, "answering": [100, 101]}
        assert sorted(await first.control.snapshot()) == [0, 1]

    async def test_fault(self, around: Surroundings) -> None:
        """A fault that is not a sibling's silence is not taken for one."""
        worker = Worker(around, 0, {1: Broken(Path("/nobody/here.sock"))})
        with pytest.raises(ZeroDivisionError):
            await worker.control.status()


class Broken(Sibling):
    """A sibling whose answer meets a fault of ours."""

    async def snapshot(self) -> Snapshot:
        """A fault."""
        raise ZeroDivisionError


class TestList:
    """The policies that are known."""

    async def test_all(self, around: Surroundings) -> None:
        """Domains with a policy, in their order, each with what file and memory have of it."""
        worker = Worker(around)
        await looked_up(worker)
        good, other = await listed(worker)
        assert (good["domain"], good["mode"], good["id"]) == ("good.test", "enforce", "a")
        assert (good["mx"], good["fetched_at"]) == (["mx1.good.test"], START)
        assert (good["asked_at"], good["asked_count"]) == (START, 1)
        assert (other["domain"], other["mode"]) == ("other.test", "testing")

    async def test_filters(self, around: Surroundings) -> None:
        """Mode, failing and expiring are those of the wanted list."""
        worker = Worker(around)
        await looked_up(worker)
        assert await domains(worker, PolicyFilter(mode=Mode.TESTING)) == ["other.test"]
        assert await domains(worker, PolicyFilter(failing=True)) == ["bad.test", "dark.test"]
        assert await domains(worker, PolicyFilter(expiring_in=604_800)) == []
        around.now += 1
        assert len(await domains(worker, PolicyFilter(expiring_in=604_800))) == 2

    async def test_failing_policy(self, around: Surroundings) -> None:
        """A policy in force whose renewal fails is listed with both."""
        worker = Worker(around)
        await looked_up(worker, GOOD)
        around.policies[GOOD] = StatusError("503")
        around.now += 2 * DAY
        await looked_up(worker, GOOD)
        await worker.resolver.renew(GOOD)
        (entry,) = await listed(worker, PolicyFilter(failing=True))
        assert (entry["mode"], entry["failure"]["reason"]) == ("enforce", "503")

    async def test_siblings(self, around: Surroundings) -> None:
        """What fails in the memory of another process is listed too, each domain once."""
        elsewhere = Surroundings()
        elsewhere.records[parse_domain("aaa.test")] = DnsFailureError("SERVFAIL")
        elsewhere.records[parse_domain("dark.test")] = DnsFailureError("SERVFAIL")
        first, second = workers(around, elsewhere, unanswered=True)
        await looked_up(second)
        await looked_up(first, parse_domain("aaa.test"), parse_domain("dark.test"))
        failing = await domains(first, PolicyFilter(failing=True))
        assert failing == ["aaa.test", "bad.test", "dark.test"]
        assert await domains(first, PolicyFilter()) == ["good.test", "other.test"]

    async def test_incomplete(self, around: Surroundings) -> None:
        """Where the store cannot be read, the list says that it is not complete."""
        worker = Worker(around)
        worker.not_working.add(Part.STORE_READING)
        assert "not complete" in (await listed(worker))[-1]["error"]

    async def test_many_rows(self) -> None:
        """A hundred thousand rows are never held at once: a page is let go before the next."""
        store = Vast(100_000)
        worker = Worker(Surroundings(store=store))
        count = 0
        async for entry in worker.control.policies(PolicyFilter()):
            assert entry["domain"] == f"d{count:06}.test"
            assert store.given - count <= PAGE
            count += 1
        assert count == 100_000


class TestByDomain:
    """The way several streams become one."""

    @given(st.lists(st.sets(st.sampled_from("abcdefgh")), max_size=4))
    def test_order(self, streams: list[set[str]]) -> None:
        """Every domain comes once, in order, with one entry of each stream that has it."""

        async def stream(names: set[str]) -> AsyncGenerator[JsonObject]:
            for name in sorted(names):
                yield {"domain": name}

        async def groups() -> list[list[JsonObject]]:
            return [group async for group in by_domain([stream(names) for names in streams])]

        got = asyncio.run(groups())
        everything = sorted(set().union(*streams))
        assert [group[0]["domain"] for group in got] == everything
        assert [len(group) for group in got] == [sum(n in s for s in streams) for n in everything]


class TestShow:
    """All that is known of one domain."""

    async def test_policy(self, around: Surroundings) -> None:
        """Policy, times, how often asked for, and what was accepted before."""
        worker = Worker(around)
        await looked_up(worker, GOOD)
        around.publish(GOOD, policy_id="b", mode="none")
        around.now += HOUR
        await looked_up(worker, GOOD)
        await worker.resolver.renew(GOOD)
        said = await worker.control.show(GOOD)
        assert (said["known"], said["in_force"]) == (True, True)
        assert (said["policy"]["mode"], said["policy"]["id"]) == ("none", "b")
        assert said["policy"]["text"].startswith("version: STSv1\n")
        assert (said["asked_at"], said["asked_count"]) == (START + HOUR, 2)
        assert [seen["id"] for seen in said["history"]] == ["b", "a"]

    async def test_asked_just_now(self, around: Surroundings) -> None:
        """What is not on file yet counts too, of all processes."""
        first, second = workers(around, Surroundings(), unanswered=True)
        await looked_up(second, GOOD)
        around.now += 7
        for worker in (first, second, second):
            worker.resolver.usage.note(GOOD, 2, worker.around.now)
        said = await first.control.show(GOOD)
        assert (said["asked_at"], said["asked_count"]) == (START + 7, 7)

    async def test_absence(self, around: Surroundings) -> None:
        """An absence has its reason, and was asked for as nobody counts."""
        worker = Worker(around)
        await looked_up(worker)
        said = await worker.control.show(parse_domain("bad.test"))
        assert (said["known"], said["in_force"], said["policy"]) == (True, False, None)
        assert said["failure"]["stage"] == "https"
        assert (said["backoffs"][0]["id"], said["history"]) == ("a", [])

    async def test_nothing(self, around: Surroundings) -> None:
        """Of a domain that nobody asked for nothing is known, and none is asked for it."""
        said = await Worker(around).control.show(GOOD)
        assert said == {
            "domain": GOOD,
            "known": False,
            "in_force": False,
            "asked_at": None,
            "asked_count": 0,
            "history": [],
        }
        assert around.queries.total == 0

    async def test_expired(self, around: Surroundings) -> None:
        """What has expired is shown, and not called in force."""
        worker = Worker(around)
        await looked_up(worker, GOOD)
        around.now += 8 * DAY
        said = await worker.control.show(GOOD)
        assert (said["known"], said["in_force"]) == (True, False)

    async def test_sibling_knows_more(self, around: Surroundings) -> None:
        """A failure that another process has seen is told by whichever is asked."""
        first, second = workers(around, Surroundings(), unanswered=True)
        await looked_up(second, parse_domain("bad.test"))
        said = await first.control.show(parse_domain("bad.test"))
        assert said["failure"]["code"] == "status"


class TestRefresh:
    """An attempt now."""

    async def test_fetched(self, around: Surroundings) -> None:
        """The policy is fetched whatever its id, and is that of all processes from then on."""
        first, second = workers(around, Surroundings(), unanswered=True)
        await looked_up(second, GOOD)
        around.publish(GOOD, mode="testing")
        first.around.records, first.around.policies = around.records, around.policies
        said = await first.control.refresh(GOOD)
        assert (said["outcome"], said["policy"]["mode"]) == ("fetched", "testing")
        state = await second.resolver.look_up(GOOD)
        assert state
        assert state.policy
        assert state.policy.mode is Mode.TESTING

    @pytest.mark.parametrize(
        ("domain", "outcome"),
        [("good.test", "fetched"), ("bad.test", "failed"), ("no.test", "no-policy")],
    )
    async def test_outcome(self, around: Surroundings, domain: str, outcome: str) -> None:
        """The outcome is a word for programs, also where nothing of it is kept."""
        said = await Worker(around).control.refresh(parse_domain(domain))
        assert (said["outcome"], said["known"]) == (outcome, True)

    async def test_no_room(self, around: Surroundings) -> None:
        """Where there is no room for one more attempt, that is the outcome."""
        said = await Worker(around, attempts=0).control.refresh(GOOD)
        assert (said["outcome"], said["known"], around.queries.total) == ("busy", False, 0)

    async def test_failure_keeps_the_policy(self, around: Surroundings) -> None:
        """A policy in force stays so when its renewal fails, and both are told."""
        worker = Worker(around)
        await looked_up(worker, GOOD)
        around.records[GOOD] = NoRecordError("NXDOMAIN")
        around.policies[GOOD] = StatusError("404")
        said = await worker.control.refresh(GOOD)
        assert (said["outcome"], said["in_force"], said["policy"]["id"]) == ("failed", True, "a")


class TestForget:
    """A domain that nobody knows any more."""

    async def test_everywhere(self, around: Surroundings) -> None:
        """Memory of all processes, store and history have nothing left."""
        elsewhere = Surroundings()
        elsewhere.publish(GOOD)
        first, second = workers(around, elsewhere, unanswered=True)
        await looked_up(second, GOOD)
        await looked_up(first, GOOD)
        said = await first.control.forget(GOOD)
        assert said == {"domain": GOOD, "known": True, "kept_on_file": False}
        assert not (await first.control.show(GOOD))["known"]
        assert (first.resolver.entry(GOOD), second.resolver.entry(GOOD)) == (None, None)
        assert not (await first.control.forget(GOOD))["known"]

    async def test_store_that_cannot_be_written(self, around: Surroundings) -> None:
        """It is not hidden that a policy on file may come back."""
        worker = Worker(around)
        worker.not_working.add(Part.STORE_WRITING)
        assert (await worker.control.forget(GOOD))["kept_on_file"]
