"""The shared store in memory, which other tests use, keeps the rules of the real ones."""

import pytest

from postfix_mta_sts.store.fleet.engine import Engine
from tests.support.engine_suite import RULES, Rule, name_of
from tests.support.fleet_engine import MemoryDatabase


class InMemory:
    """See `StoreUnderTest`."""

    def __init__(self) -> None:
        self._database = MemoryDatabase()

    async def open(self) -> Engine:
        """See `StoreUnderTest`."""
        return await self._database.open()

    async def pass_time(self, seconds: float) -> None:
        """See `StoreUnderTest`."""
        self._database.pass_time(seconds)


@pytest.mark.parametrize("rule", RULES, ids=name_of)
async def test_rule(rule: Rule) -> None:
    """What every engine must do."""
    await rule(InMemory())
