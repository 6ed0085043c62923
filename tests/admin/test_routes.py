"""The operations of the control socket over HTTP."""

import asyncio
import json
from pathlib import Path

import pytest

from postfix_mta_sts.admin.client import ControlClient
from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.mtasts.errors import StatusError
from tests.support.clients import connected
from tests.support.control import ControlledDaemon
from tests.support.resolvers import find_state
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


async def exchange(path: Path, line: str) -> tuple[int, str, bytes]:
    """Send a request; return status, media type and body."""
    async with connected(path) as client:
        client.send(f"{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        head, _, body = (await client.reader.read(-1)).partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    fields = dict(field.split(": ", 1) for field in rest)
    return int(first.split()[1]), fields["Content-Type"], body


@pytest.mark.parametrize(
    "line", ["GET /status", "GET /policies/good.test", "POST /policies/good.test/refresh"]
)
async def test_json(around: Surroundings, tmp_path: Path, line: str) -> None:
    """The answer is one JSON object."""
    async with ControlledDaemon(around).controlled(tmp_path) as path:
        status, kind, body = await exchange(path, line)
    assert (status, kind) == (200, "application/json")
    assert isinstance(json.loads(body), dict)


@pytest.mark.parametrize("domain", ["-", "1.2.3.4", "%00", "a%0d%0ab"])
async def test_invalid_domain(around: Surroundings, tmp_path: Path, domain: str) -> None:
    """What is not a domain is answered 400, with the reason in printable text."""
    async with ControlledDaemon(around).controlled(tmp_path) as path:
        status, _, body = await exchange(path, f"POST /policies/{domain}/forget")
    assert status == 400
    assert json.loads(body)["error"].isprintable()


@pytest.mark.parametrize(
    "query",
    [
        "mode=strict",
        "asked_within=7d",
        "expiring=soon",
        "expiring=1.5",
        "expiring=-1",
        "expiring=1_0",
        "expiring=%D9%A3",  # a digit of another script
        pytest.param("expiring=" + "9" * 400, id="400 digits"),
    ],
)
async def test_invalid_filter(around: Surroundings, tmp_path: Path, query: str) -> None:
    """A filter that is not valid is answered 400, not ignored."""
    async with ControlledDaemon(around).controlled(tmp_path) as path:
        status, _, body = await exchange(path, f"GET /policies?{query}")
    assert (status, json.loads(body)) == (
        400,
        {"error": "mode, expiring or asked_within is not valid"},
    )


async def test_answers(around: Surroundings, tmp_path: Path) -> None:
    """The key is a parameter, in any spelling that Postfix may use."""
    async with ControlledDaemon(around).controlled(tmp_path) as path:
        for key, domain in (("%5Bgood.test%5D:25", "good.test"), ("ai", None)):
            status, _, body = await exchange(path, f"GET /answers?key={key}")
            assert (status, json.loads(body)["domain"]) == (200, domain)
            assert json.loads(body)["other"] == (None if domain else "NOTFOUND")
        client = ControlClient(path)
        asked = await asyncio.to_thread(
            lambda: client.ask("GET", "answers", key="[b\u00fccher.test]")
        )
        assert (asked["key"], asked["domain"]) == ("[b\u00fccher.test]", "xn--bcher-kva.test")


@pytest.mark.parametrize("length", [0, 1_001, 10_000])
async def test_a_key_without_end(around: Surroundings, tmp_path: Path, length: int) -> None:
    """A key that is empty, or longer than any that Postfix has a use for, is refused."""
    async with ControlledDaemon(around).controlled(tmp_path) as path:
        status, _, _ = await exchange(path, f"GET /answers?key={'a' * length}")
    assert status == 400


async def test_filter(around: Surroundings, tmp_path: Path) -> None:
    """The parameters of the list are those of the filter."""
    daemon = ControlledDaemon(around)
    for domain in (GOOD, BAD):
        await find_state(daemon.resolver, domain)
    async with daemon.controlled(tmp_path) as path:
        for query, listed in {
            "mode=enforce": ["good.test"],
            "failing=yes": ["bad.test"],
            "expiring=604800": [],
            "expiring=9999999999": ["good.test"],
            "asked_within=3600": ["good.test"],
            "asked_within=3600&failing=yes": ["bad.test"],
        }.items():
            _, kind, body = await exchange(path, f"GET /policies?{query}")
            assert kind == "application/jsonl"
            assert [json.loads(line)["domain"] for line in lines(body)] == listed


async def test_long_list(around: Surroundings, tmp_path: Path) -> None:
    """A list of any length is complete and ordered by domain."""
    daemon = ControlledDaemon(around)
    domains = sorted(parse_domain(f"bad{n}.test") for n in range(700))
    for domain in domains:
        around.publish(domain)
        around.policies[domain] = StatusError("404")
        await find_state(daemon.resolver, domain)
    async with daemon.controlled(tmp_path) as path:
        entries = await asyncio.to_thread(
            lambda: list(ControlClient(path).lines("policies", failing="yes"))
        )
    assert [entry["domain"] for entry in entries] == domains


async def test_get_changes_nothing(around: Surroundings, tmp_path: Path) -> None:
    """Operations that change something cannot be reached with GET."""
    async with ControlledDaemon(around).controlled(tmp_path) as path:
        for operation in ("refresh", "forget"):
            assert (await exchange(path, f"GET /policies/good.test/{operation}"))[0] == 405
    assert around.queries.total == 0


def lines(body: bytes) -> list[bytes]:
    """The lines of a chunked body; the lines between them are the sizes of the chunks."""
    return [line for line in body.split(b"\n") if line.startswith(b"{")]
