"""/metrics, /healthz and /readyz: one answer for all workers."""

import json
from collections import Counter
from collections.abc import Mapping

import pytest

from postfix_mta_sts.figures import Figures, Part
from postfix_mta_sts.mtasts.policy import Mode
from postfix_mta_sts.scrape import routes
from postfix_mta_sts.store import Overview
from postfix_mta_sts.web import Asked, Reply

ONE = {0: Figures(pids=frozenset([101]), connections=3)}
TWO = {**ONE, 1: Figures(pids=frozenset([102]), failing=Counter([Part.DNS]))}


async def get(path: str, workers: Mapping[int, Figures], processes: int = 1) -> Reply:
    """What is answered to GET of a path."""

    async def figures() -> Mapping[int, Figures]:
        return workers

    async def overview() -> Overview:
        return Overview({Mode.ENFORCE: 5}, None)

    (route,) = (r for r in routes(figures, overview, processes) if r.match(path) is not None)
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
    path: str, workers: Mapping[int, Figures], processes: int, status: int
) -> None:
    """Alive is who answers; ready is only where all workers are, and 503 says that they are not."""
    reply = await get(path, workers, processes)
    assert reply.status == status
    assert reply.content_type == "application/json"
    assert isinstance(reply.body, bytes)
    assert json.loads(reply.body)["ok"] is (status == 200)
