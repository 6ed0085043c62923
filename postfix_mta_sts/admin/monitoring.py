"""What programs that watch over this one ask for: /metrics, /healthz and /readyz.

Border: which figures go into which answer. Where they come from, in this process and in those
beside it, is handed in.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import reduce
from operator import add
from typing import TypeAlias

from postfix_mta_sts.admin import health, metrics
from postfix_mta_sts.admin.health import Health
from postfix_mta_sts.admin.http import Asked, Reply, Route
from postfix_mta_sts.stats import Snapshot
from postfix_mta_sts.store import Overview

Workers: TypeAlias = Callable[[], Awaitable[Mapping[int, Snapshot]]]
"""Gives the figures of all processes that answer, by their index, this one's always among them."""


def routes(
    workers: Workers, overview: Callable[[], Awaitable[Overview]], processes: int = 1
) -> tuple[Route, ...]:
    """What is answered, where `processes` serve together; `overview` is that of their store."""

    async def scraped(_: Asked) -> Reply:
        snapshot, on_file = await asyncio.gather(workers(), overview())
        # In a thread, for it takes longer than a look-up may wait.
        text = await asyncio.to_thread(metrics.render, snapshot, on_file)
        return Reply(200, metrics.CONTENT_TYPE, text)

    async def alive(_: Asked) -> Reply:
        return _reply(health.alive())

    async def ready(_: Asked) -> Reply:
        total = reduce(add, (await workers()).values())
        return _reply(health.ready(total, processes))

    asked = {"/metrics": scraped, "/healthz": alive, "/readyz": ready}
    return tuple(Route("GET", path, answer) for path, answer in asked.items())


def _reply(said: Health) -> Reply:
    return Reply(200 if said.ok else 503, "application/json", said.body)
