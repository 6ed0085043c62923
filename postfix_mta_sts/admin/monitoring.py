"""What programs that watch over this one ask for: /metrics, /healthz and /readyz.

Border: which figures go into which answer. Where they come from, in this process and in those
beside it, is handed in.
"""

import asyncio
from collections.abc import Awaitable, Callable

from postfix_mta_sts.admin import health, metrics
from postfix_mta_sts.admin.health import Health
from postfix_mta_sts.admin.http import Asked, Reply, Route
from postfix_mta_sts.stats import Snapshot
from postfix_mta_sts.store import Overview


def routes(
    snapshot: Callable[[], Awaitable[Snapshot]], overview: Callable[[], Awaitable[Overview]]
) -> tuple[Route, ...]:
    """The routes of Prometheus and of health checks."""

    async def scraped(_: Asked) -> Reply:
        own, stored = await asyncio.gather(snapshot(), overview())
        # In a thread, for it takes longer than a look-up may wait.
        text = await asyncio.to_thread(metrics.render, {0: own}, stored)
        return Reply(200, metrics.CONTENT_TYPE, text)

    async def alive(_: Asked) -> Reply:
        return _reply(health.alive())

    async def ready(_: Asked) -> Reply:
        return _reply(health.ready(await snapshot(), 1))

    asked = {"/metrics": scraped, "/healthz": alive, "/readyz": ready}
    return tuple(Route("GET", path, answer) for path, answer in asked.items())


def _reply(said: Health) -> Reply:
    return Reply(200 if said.ok else 503, "application/json", said.body)
