"""What commands do with exceptions: list, add and remove, answered in plain data for JSON."""

from collections.abc import Callable
from typing import Final

from postfix_mta_sts.admin.exceptions.keeper import ExceptionKeeper
from postfix_mta_sts.admin.exceptions.upkeep import KEPT
from postfix_mta_sts.admin.exceptions.views import (
    applied_to_json,
    check_to_json,
    exception_to_json,
    parse_add_request,
)
from postfix_mta_sts.admin.serialize import JsonObject
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.exceptions import (
    PolicyException,
    Scope,
    Use,
    parse_scope,
)
from postfix_mta_sts.store.records import EXCEPTIONS_LIMIT, AdminRecords

CHECKS_LIMIT: Final = EXCEPTIONS_LIMIT
"""Exceptions whose last check is read for the list; each is one read of the store."""


class ConfiguredError(Exception):
    """The configuration decides about this scope, and no command can. `str()` says what to do."""


class ExceptionOperations:
    """The operations; `config` is the configuration file, None if there is none."""

    def __init__(
        self,
        keeper: ExceptionKeeper,
        records: AdminRecords,
        clock: Callable[[], float],
        config: str | None,
    ) -> None:
        self._keeper = keeper
        self._records = records
        self._clock = clock
        self._place = config or "the environment"

    async def all(self) -> JsonObject:
        """List the exceptions, also those that have ended lately, ordered by domain.

        `covered`: the configuration has one with the same scope, which is in force in its place.
        `problem`: why those of commands are not known; null if they are.
        """
        found, now = self._keeper.exceptions, self._clock()
        entries: list[JsonObject] = []
        for exception in (each for each in found.all() if _is_listed(each, now)):
            is_checked = len(entries) < CHECKS_LIMIT and exception.is_in_force(now)
            check = await self._check(exception) if is_checked else None
            entries.append(
                {
                    **exception_to_json(exception, now),
                    "covered": exception is not found.in_force(exception.scope, now),
                    "check": check,
                }
            )
        entries.sort(key=lambda each: (each["scope"].removeprefix("*."), each["scope"]))
        problem = self._keeper.problem or None
        return {"exceptions": entries, "problem": problem, "fleet": self._fleet()}

    async def add(self, body: bytes, uid: int | None) -> JsonObject:
        """Add an exception; report it, and the one that it replaces.

        Raises `InvalidExceptionError`, `RefusedError`, `StoreError`, and
        `ConfiguredError` if it would not be in force.
        """
        exception = parse_add_request(body, self._clock(), uid, self._keeper.relay)
        if covering := self._covering(exception.scope, self._clock()):
            advice = "change it there and reload the daemon, or remove it first"
            what = f"{covering['place']} has an exception {exception.scope}"
            raise ConfiguredError(f"{what} (use {covering['use']}), which counts: {advice}")
        replaced = await self._keeper.add(exception)
        now = self._clock()
        return {
            "exception": exception_to_json(exception, now),
            "replaced": replaced and exception_to_json(replaced, now),
            "fleet": self._fleet(),
        }

    async def remove(self, text: str, uid: int | None) -> JsonObject:
        """Remove the exception with this scope; report it, and what is in force after it.

        `removed` is null if there is none. Raises `InvalidExceptionError`, `StoreError`, and
        `ConfiguredError` for one of the configuration.
        """
        scope = parse_scope(text, anyway=True)
        found, now = self._keeper.exceptions, self._clock()
        if scope in found.configured and scope not in found.added:
            advice = f"written in {self._place}: remove it there, then reload the daemon"
            raise ConfiguredError(f"the exception {scope} is {advice}")
        if scope not in found.added:
            await self._keeper.share()  # it may be some seconds old, and of another relay
            found = self._keeper.exceptions
        removed = await self._keeper.remove(scope, uid) if scope in found.added else None
        return {
            "scope": scope,
            "removed": removed and exception_to_json(removed, now),
            "covered_by": self._covering(scope, now),
            "in_force": applied_to_json(self._keeper.exceptions, scope, now),
            "fleet": self._fleet(),
        }

    def _fleet(self) -> JsonObject | None:
        """Whether the fleet has all; null if there is none."""
        problem = self._keeper.unshared
        if problem is None:
            return None
        return {"relay": self._keeper.relay, "problem": problem or None}

    def _covering(self, scope: Scope, now: float) -> JsonObject | None:
        """The exception of the configuration with this scope, in force in place of an added one."""
        first = self._keeper.exceptions.configured.get(scope)
        if first is None or not first.is_in_force(now):
            return None
        return {**exception_to_json(first, now), "place": self._place}

    async def _check(self, exception: PolicyException) -> JsonObject | None:
        """The last check of a domain, if it tells whether its exception is still needed.

        Names below a domain have one each, or none. That of a trial may be about the exception
        itself: about a pin, or about a policy that `enforce` makes stricter.
        """
        if exception.scope.startswith("*.") or exception.use is Use.ENFORCE:
            return None
        check = await self._records.check(Domain(exception.scope))
        return check_to_json(check) if check and check.policy_id else None


def _is_listed(exception: PolicyException, now: float) -> bool:
    """Whether the list has an exception: not one of a command that ended long ago.

    A fleet keeps those until they leave no room for others.
    """
    return exception.added_at is None or exception.is_in_force(now - KEPT)
