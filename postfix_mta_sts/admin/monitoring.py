"""Answer monitoring systems: /metrics, /healthz and /readyz.

A check reports how a part worked when it was last needed. It tests nothing, so scrapes cause no
load on the disk or the network.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from postfix_mta_sts import __version__
from postfix_mta_sts.admin import metrics
from postfix_mta_sts.admin.http import HttpRequest, HttpResponse, Route
from postfix_mta_sts.stats import Snapshot
from postfix_mta_sts.stats.labels import SPARED, Part
from postfix_mta_sts.store import Overview

_FAILING: Final[Mapping[Part, str]] = {
    Part.DNS: "no name server answers; known policies stay in force",
    Part.NETWORK_PROCESS: "the network process needs attention; known policies stay in force",
    Part.CA_CERTIFICATES: "no policy can be fetched; known policies stay in force",
    Part.STORE_READING: "the store cannot be read; policies in memory stay in force",
    Part.STORE_WRITING: "the store cannot be written; policies in memory are lost at a restart",
    Part.FLEET: "the shared store does not answer; this relay works on as it would alone",
}


def routes(
    snapshot: Callable[[], Awaitable[Snapshot]], overview: Callable[[], Awaitable[Overview]]
) -> tuple[Route, ...]:
    """Return the routes of the metrics endpoint; `overview` counts the stored policies."""

    async def scrape(_: HttpRequest) -> HttpResponse:
        numbers, stored = await asyncio.gather(snapshot(), overview())
        # In a thread, because it takes longer than a look-up may wait.
        text = await asyncio.to_thread(metrics.render, numbers, stored)
        return HttpResponse(200, metrics.CONTENT_TYPE, text)

    async def alive(_: HttpRequest) -> HttpResponse:
        """Show that the event loop answers."""
        return _health({"version": __version__}, ok=True)

    async def ready(_: HttpRequest) -> HttpResponse:
        return readiness(await snapshot())

    handlers = {"/metrics": scrape, "/healthz": alive, "/readyz": ready}
    return tuple(Route("GET", path, handler) for path, handler in handlers.items())


def readiness(snapshot: Snapshot) -> HttpResponse:
    """Report with 200 or 503 whether all parts work.

    Postfix is answered in either case, from what is known. `degraded` names the parts that fail and
    without which the relay is as good as ready.
    """
    checks = {
        str(part): {"ok": part not in snapshot.failing, "says": _check(snapshot, part)}
        for part in Part
    }
    degraded = sorted(snapshot.failing & SPARED)
    return _health({"degraded": degraded, "checks": checks}, ok=not snapshot.failing - SPARED)


def _check(snapshot: Snapshot, part: Part) -> str:
    if part not in snapshot.failing:
        return "ok"
    why = snapshot.reasons.get(part)
    return f"{_FAILING[part]} ({why})" if why else _FAILING[part]


def _health(body: Mapping[str, object], *, ok: bool) -> HttpResponse:
    text = json.dumps({"ok": ok, **body}, indent=2).encode() + b"\n"
    return HttpResponse(200 if ok else 503, "application/json", text)
