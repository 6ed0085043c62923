"""The questions over HTTP: between processes, and from outside."""

import json
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from postfix_mta_sts.admin.client import ControlError
from postfix_mta_sts.admin.http import Asked, Reply, Route
from postfix_mta_sts.admin.processes import Sibling
from postfix_mta_sts.admin.routes import private_path
from postfix_mta_sts.admin.types import JsonObject, PolicyFilter
from postfix_mta_sts.mtasts.domain import Domain, parse_domain
from postfix_mta_sts.mtasts.errors import StatusError
from postfix_mta_sts.stats import Answer, Source
from tests.support.clients import connected
from tests.support.control import Worker, listening
from tests.support.surroundings import GOOD, Surroundings

BAD = parse_domain("bad.test")


@pytest.fixture
def around() -> Surroundings:
    """A domain with a policy, and one whose policy cannot be fetched."""
    made = Surroundings()
    made.publish(GOOD)
    made.publish(BAD)
    made.policies[BAD] = StatusError("404")
    return made


async def said(path: Path, line: str) -> tuple[int, str, bytes]:
    """Status, media type and body of a response."""
    async with connected(path) as client:
        client.send(f"{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        head, _, body = (await client.reader.read(-1)).partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    fields = dict(field.split(": ", 1) for field in rest)
    return int(first.split()[1]), fields["Content-Type"], body


class TestPublic:
    """The control socket."""

    @pytest.mark.parametrize(
        "line",
        ["GET /status", "GET /policies/good.test", "POST /policies/good.test/refresh"],
    )
    async def test_json(self, around: Surroundings, tmp_path: Path, line: str) -> None:
        """An answer is one JSON object."""
        async with Worker(around).controlled(tmp_path) as path:
            status, kind, body = await said(path, line)
        assert (status, kind) == (200, "application/json")
        assert isinstance(json.loads(body), dict)

    @pytest.mark.parametrize("domain", ["-", "1.2.3.4", "%00", "a%0d%0ab"])
    async def test_no_domain(self, around: Surroundings, tmp_path: Path, domain: str) -> None:
        """What is no domain is refused, with the reason in printable words."""
        async with Worker(around).controlled(tmp_path) as path:
            status, _, body = await said(path, f"POST /policies/{domain}/forget")
        assert status == 400
        assert json.loads(body)["error"].isprintable()

    @pytest.mark.parametrize("query", ["mode=strict", "expiring=soon", "expiring=1.5"])
    async def test_no_such_list(self, around: Surroundings, tmp_path: Path, query: str) -> None:
        """A list that cannot be is refused, not given as another one."""
        async with Worker(around).controlled(tmp_path) as path:
            status, _, body = await said(path, f"GET /policies?{query}")
        assert (status, json.loads(body)) == (400, {"error": "no such list"})

    async def test_reading_changes_nothing(self, around: Surroundings, tmp_path: Path) -> None:
        """What changes something is no GET, which anybody might follow."""
        async with Worker(around).controlled(tmp_path) as path:
            for deed in ("refresh", "forget"):
                assert (await said(path, f"GET /policies/good.test/{deed}"))[0] == 405
        assert around.queries.total == 0


class TestSibling:
    """The private socket, and who asks there."""

    async def test_same_as_asked_directly(self, around: Surroundings, tmp_path: Path) -> None:
        """Another process says by its socket what it would say itself."""
        worker = Worker(around)
        worker.counters.answers[Answer.FOUND, Source.MEMORY] += 3
        for domain in (GOOD, BAD):
            await worker.resolver.look_up(domain)
        own = worker.control.own
        async with worker.witnessing(tmp_path) as path:
            sibling = Sibling(path)
            assert await sibling.snapshot() == await own.snapshot()
            for domain in (GOOD, BAD, parse_domain("no.test")):
                assert await sibling.known(domain) == await own.known(domain)
            assert (await sibling.known(GOOD))["state"]
            failing = [entry async for entry in sibling.failing()]
            assert failing == [entry async for entry in own.failing()]
            assert [entry["domain"] for entry in failing] == ["bad.test"]

    async def test_forget(self, around: Surroundings, tmp_path: Path) -> None:
        """What another process is to forget is gone, and it says whether there was anything."""
        worker = Worker(around)
        await worker.resolver.look_up(GOOD)
        async with worker.witnessing(tmp_path) as path:
            assert await Sibling(path).forget(GOOD)
            assert not await Sibling(path).forget(GOOD)
        assert await around.store.row(GOOD) is None

    async def test_many_failing(self, around: Surroundings, tmp_path: Path) -> None:
        """A list of any length comes whole, and in its order."""
        worker = Worker(around)
        domains = sorted(parse_domain(f"bad{n}.test") for n in range(700))
        for domain in domains:
            around.publish(domain)
            around.policies[domain] = StatusError("404")
            await worker.resolver.look_up(domain)
        async with worker.witnessing(tmp_path) as path:
            heard = [entry["domain"] async for entry in Sibling(path).failing()]
        assert heard == domains

    async def test_not_there(self, tmp_path: Path) -> None:
        """A process that does not answer is an error, which says so."""
        sibling = Sibling(tmp_path / "none")
        for question in (sibling.snapshot(), sibling.known(GOOD), anext(sibling.failing())):
            with pytest.raises(ControlError, match="no control socket"):
                await question

    async def test_another_version(self, tmp_path: Path) -> None:
        """Figures that are none are an error, not a number."""

        async def answer(_: Asked) -> Reply:
            return Reply(200, "application/json", b"{}")

        async with listening(tmp_path / "s", [Route("GET", "/figures", answer)]) as path:
            with pytest.raises(ControlError, match="not the figures"):
                await Sibling(path).snapshot()

    async def test_whole_daemon(self, around: Surroundings, tmp_path: Path) -> None:
        """Two processes, each asked by its own socket, speak for both."""
        elsewhere = Surroundings(store=around.store)
        paths = [private_path(tmp_path / "control.sock", n) for n in range(2)]
        workers = [
            Worker(around, 0, {1: Sibling(paths[1])}),
            Worker(elsewhere, 1, {0: Sibling(paths[0])}),
        ]
        await workers[0].resolver.look_up(BAD)
        async with AsyncExitStack() as stack:
            for n, worker in enumerate(workers):
                folder = tmp_path / str(n)
                folder.mkdir()
                private = await stack.enter_async_context(worker.witnessing(folder))
                private.rename(paths[n])
            for worker in workers:
                assert (await worker.control.status())["processes"]["answering"] == [100, 101]
                assert await shown(worker, BAD) == "status"
                failing = [e async for e in worker.control.policies(PolicyFilter(failing=True))]
                assert [entry["domain"] for entry in failing] == ["bad.test"]
            assert (await workers[1].control.forget(BAD))["known"]
        assert workers[0].resolver.entry(BAD) is None


async def shown(worker: Worker, domain: Domain) -> str:
    """The code of the failure that is told of a domain."""
    known: JsonObject = await worker.control.show(domain)
    return str(known["failure"]["code"])


def test_private_path() -> None:
    """The private sockets stand beside the public one, each with the worker's number."""
    assert private_path(Path("/run/a/control.sock"), 3) == Path("/run/a/control.3.sock")
    assert private_path(Path("/run/a/control"), 0) == Path("/run/a/control.0")
