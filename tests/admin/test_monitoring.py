"""/metrics, /healthz and /readyz."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from postfix_mta_sts import __version__
from postfix_mta_sts.admin.client import ControlClient
from postfix_mta_sts.admin.http import HttpRequest, HttpResponse
from postfix_mta_sts.admin.monitoring import readiness, routes
from postfix_mta_sts.mtasts.policy import Mode
from postfix_mta_sts.stats import Snapshot
from postfix_mta_sts.stats.labels import SPARED, Part
from postfix_mta_sts.store import Overview
from tests.support.daemons import daemon
from tests.support.internet import internet

WORKING = Snapshot(pid=101, connections=3)
FAILING = Snapshot(pid=101, failing=frozenset([Part.DNS]))


async def get(path: str, numbers: Snapshot) -> HttpResponse:
    """GET a path of a daemon with these counters and gauges."""

    async def snapshot() -> Snapshot:
        return numbers

    async def overview() -> Overview:
        return Overview({Mode.ENFORCE: 5}, None)

    (route,) = (route for route in routes(snapshot, overview) if route.path == path)
    assert route.method == "GET"
    return await route.answer(HttpRequest({}, {}))


def parsed(response: HttpResponse) -> dict[str, Any]:
    """The JSON object of a response."""
    assert response.content_type == "application/json"
    assert isinstance(response.body, bytes)
    return dict(json.loads(response.body))


async def test_metrics() -> None:
    """Counters, gauges and the numbers of the store are rendered for Prometheus."""
    response = await get("/metrics", FAILING)
    assert response.status == 200
    assert response.content_type.startswith("text/plain; version=")
    assert isinstance(response.body, bytes)
    lines = response.body.decode().splitlines()
    assert "postfix_mta_sts_connections 0.0" in lines
    assert 'postfix_mta_sts_working{part="dns"} 0.0' in lines
    assert 'postfix_mta_sts_policies{mode="enforce"} 5.0' in lines


@pytest.mark.parametrize(
    ("path", "numbers", "status"),
    [
        ("/healthz", WORKING, 200),
        ("/healthz", FAILING, 200),
        ("/readyz", WORKING, 200),
        ("/readyz", FAILING, 503),
    ],
)
async def test_status(path: str, numbers: Snapshot, status: int) -> None:
    """/healthz is 200 whenever the daemon answers; /readyz is 503 while a part fails."""
    response = await get(path, numbers)
    assert response.status == status
    assert parsed(response)["ok"] is (status == 200)


async def test_alive() -> None:
    """/healthz names the version of the daemon."""
    assert parsed(await get("/healthz", WORKING)) == {"ok": True, "version": __version__}


def test_ready() -> None:
    """If everything works, each check says so."""
    assert parsed(readiness(WORKING))["checks"] == {
        name: {"ok": True, "says": "ok"}
        for name in (
            "dns",
            "network_process",
            "ca_certificates",
            "store_reading",
            "store_writing",
            "fleet",
        )
    }


def test_the_shared_store_fails() -> None:
    """Without the shared store a relay is ready; the answer says what is degraded, and why."""
    reasons = {Part.FLEET: "connection refused"}
    response = readiness(Snapshot(pid=1, failing=frozenset([Part.FLEET]), reasons=reasons))
    body = parsed(response)
    assert (response.status, body["ok"], body["degraded"]) == (200, True, ["fleet"])
    assert not body["checks"]["fleet"]["ok"]
    assert "(connection refused)" in body["checks"]["fleet"]["says"]


@pytest.mark.parametrize("part", [part for part in Part if part not in SPARED])
def test_a_part_fails(part: Part) -> None:
    """One failing part makes the daemon not ready; its check says what that means."""
    response = readiness(Snapshot(pid=1, failing=frozenset([part])))
    assert response.status == 503
    checks = parsed(response)["checks"]
    assert [name for name, check in checks.items() if not check["ok"]] == [part]
    assert len(checks[part]["says"]) > len("ok")


async def test_running_daemon(tmp_path: Path) -> None:
    """A scrape counts the look-ups that Postfix has made, and the attempts for them."""
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
        'lookups_total{answer="found",source="network"} 1.0',
        'lookups_total{answer="found",source="memory"} 1.0',
        'lookups_total{answer="not_found",source="network"} 1.0',
        'lookups_total{answer="not_found",source="none"} 1.0',
        "lookup_wait_seconds_count 2.0",
        'attempts_total{outcome="success",reason="",stage="dns"} 1.0',
        'attempts_total{outcome="absent",reason="no-record",stage="dns"} 1.0',
        'attempts_total{outcome="success",reason="",stage="https"} 1.0',
        'memory_entries{kind="domain"} 2.0',
        'policies{mode="enforce"} 1.0',
    ):
        assert f"postfix_mta_sts_{line}" in text.decode().splitlines()
