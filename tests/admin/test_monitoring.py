"""/metrics, /healthz and /readyz: one answer for all workers."""

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
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

ONE = {0: Snapshot(pids=frozenset([101]), connections=3)}
TWO = {**ONE, 1: Snapshot(pids=frozenset([102]), failing=Counter([Part.DNS]))}


async def get(path: str, workers: Mapping[int, Snapshot], processes: int = 1) -> Reply:
    """What is answered to GET of a path."""

    async def snapshot() -> Mapping[int, Snapshot]:
        return workers

    async def overview() -> Overview:
        return Overview({Mode.ENFORCE: 5}, None)

    (route,) = (r for r in routes(snapshot, overview, processes) if r.match(path) is not None)
    assert route.method == "GET"
    return await route.answer(Asked({}, {}))


async def test_metrics() -> None:
    """What all workers and their store say is rendered for Prometheus."""
    reply = await get("/metrics", TWO, 2)
    assert reply.status == 200
    assert reply.content_type.startswith("text/plain; version=")
    assert isinstance(reply.body, bytes)
    lines = reply.body.decode().splitlines()
    assert 'postfix_mta_sts_connections{worker="0"} 3.0' in lines
    assert 'postfix_mta_sts_working{part="dns",worker="1"} 0.0' in lines
    assert 'postfix_mta_sts_policies{mode="enforce"} 5.0' in lines


@pytest.mark.parametrize(
    ("path", "workers", "processes", "status"),
    [
        ("/healthz", ONE, 1, 200),
        ("/healthz", TWO, 3, 200),
        ("/readyz", ONE, 1, 200),
        ("/readyz", TWO, 2, 503),
        ("/readyz", ONE, 2, 503),
    ],
)
async def test_health(
    path: str, workers: Mapping[int, Snapshot], processes: int, status: int
) -> None:
    """Alive is who answers; ready is only where all workers are, and 503 says that they are not."""
    reply = await get(path, workers, processes)
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
