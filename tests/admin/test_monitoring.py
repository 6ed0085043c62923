"""/metrics, /healthz and /readyz."""

import asyncio
import json
from collections import Counter
from pathlib import Path

import pytest

from postfix_mta_sts.admin.client import ControlClient
from postfix_mta_sts.admin.http import Asked, Reply
from postfix_mta_sts.admin.monitoring import routes
from postfix_mta_sts.mtasts.policy import Mode
from postfix_mta_sts.stats import Part, Snapshot
from postfix_mta_sts.store import Overview
from tests.support.daemons import daemon
from tests.support.internet import internet

WELL = Snapshot(pids=frozenset([101]), connections=3)
ILL = Snapshot(pids=frozenset([101]), connections=3, failing=Counter([Part.DNS]))


async def get(path: str, numbers: Snapshot) -> Reply:
    """What is answered to GET of a path."""

    async def snapshot() -> Snapshot:
        return numbers

    async def overview() -> Overview:
        return Overview({Mode.ENFORCE: 5}, None)

    (route,) = (r for r in routes(snapshot, overview) if r.match(path) is not None)
    assert route.method == "GET"
    return await route.answer(Asked({}, {}))


async def test_metrics() -> None:
    """Counters and the store are rendered for Prometheus."""
    reply = await get("/metrics", ILL)
    assert reply.status == 200
    assert reply.content_type.startswith("text/plain; version=")
    assert isinstance(reply.body, bytes)
    lines = reply.body.decode().splitlines()
    assert 'postfix_mta_sts_connections{worker="0"} 3.0' in lines
    assert 'postfix_mta_sts_working{part="dns",worker="0"} 0.0' in lines
    assert 'postfix_mta_sts_policies{mode="enforce"} 5.0' in lines


@pytest.mark.parametrize(
    ("path", "numbers", "status"),
    [
        ("/healthz", WELL, 200),
        ("/healthz", ILL, 200),
        ("/readyz", WELL, 200),
        ("/readyz", ILL, 503),
    ],
)
async def test_health(path: str, numbers: Snapshot, status: int) -> None:
    """A daemon that answers is alive; it is ready, or else 503, only if all its parts work."""
    reply = await get(path, numbers)
    assert reply.status == status
    assert reply.content_type == "application/json"
    assert isinstance(reply.body, bytes)
    assert json.loads(reply.body)["ok"] is (status == 200)


async def test_a_daemon_that_was_asked(tmp_path: Path) -> None:
    """What Postfix asked, and what it took to answer, is what is scraped then."""
    path = tmp_path / "metrics"
    changes = {"metrics": {"listen": f"unix:{path}"}}
    async with internet(tmp_path) as net:
        net.publish("good.test")
        async with daemon(net, tmp_path, changes=changes) as running:
            for key in ("good.test", "good.test", "absent.test", "[192.0.2.1]"):
                await running.ask(key)
            text = await asyncio.to_thread(ControlClient(path).text, "GET", "metrics")
            health = await asyncio.to_thread(ControlClient(path).ask, "GET", "readyz")
    assert health["ok"]
    for line in (
        'lookups_total{answer="found",source="network",worker="0"} 1.0',
        'lookups_total{answer="found",source="memory",worker="0"} 1.0',
        'lookups_total{answer="not_found",source="network",worker="0"} 1.0',
        'lookups_total{answer="not_found",source="none",worker="0"} 1.0',
        'lookup_wait_seconds_count{worker="0"} 2.0',
        'attempts_total{outcome="success",reason="",stage="dns",worker="0"} 1.0',
        'attempts_total{outcome="absent",reason="no-record",stage="dns",worker="0"} 1.0',
        'attempts_total{outcome="success",reason="",stage="https",worker="0"} 1.0',
        'memory_entries{kind="domain",worker="0"} 2.0',
        'policies{mode="enforce"} 1.0',
    ):
        assert f"postfix_mta_sts_{line}" in text.decode().splitlines()
