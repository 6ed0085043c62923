"""Check one domain as the Postfix of this machine would deliver to it.

`checks` imports this with the first check: the modules of `admin.diagnosis` are large.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from postfix_mta_sts.admin.diagnosis.check import (
    CheckRules,
    CheckSources,
    OthersAnswer,
    check_domain,
)
from postfix_mta_sts.admin.diagnosis.setup import SmtpSetup, read_setup
from postfix_mta_sts.mtasts.check import Check
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.postfix.answers import Answering
from postfix_mta_sts.resolver.check_schedule import is_recent
from postfix_mta_sts.resolver.trial import Wanted

SETUP_KEPT: Final = 3_600.0
"""Seconds after which Postfix is asked for its settings again."""


class Checker:
    """Checks domains; `port` is that of mail servers, and `read` replaced by tests."""

    def __init__(
        self,
        sources: CheckSources,
        port: int,
        read: Callable[[], Awaitable[SmtpSetup]] = read_setup,
    ) -> None:
        self._sources = sources
        self._port = port
        self._read = read
        self._lock = asyncio.Lock()
        self._setup: SmtpSetup | None = None
        self._read_at = 0.0

    async def check(
        self,
        domain: Domain,
        needed: Wanted,
        answering: Answering,
        before: Check | None,
        now: float,
        *,
        others_answer: OthersAnswer,
    ) -> Check:
        """See `check_domain`; `answering`: how the daemon answers now."""
        published = answering.as_published
        rules = CheckRules(
            dane=published.rules.dane,
            reply_format=published.documented.reply_format,
            port=self._port,
        )
        return await check_domain(
            domain,
            needed.policy,
            needed.policy_id,
            self._sources,
            await self._current_setup(now),
            now=now,
            rules=rules,
            before=before,
            others_answer=others_answer,
        )

    async def _current_setup(self, now: float) -> SmtpSetup:
        async with self._lock:
            if self._setup is None or not is_recent(self._read_at, SETUP_KEPT, now):
                self._setup, self._read_at = await self._read(), now
        return self._setup
