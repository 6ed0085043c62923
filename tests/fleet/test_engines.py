"""Redis 7 and Valkey 8 keep the rules of a shared store."""

from collections.abc import Iterator

import pytest

from tests.fleet.redis_relays import RedisUnderTest
from tests.fleet.redis_servers import Flavour, RedisServer, relay_line, running
from tests.support.engine_suite import RULES, Rule, name_of


@pytest.fixture(scope="module", params=list(Flavour))
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RedisServer]:
    """Each of the two in turn."""
    flavour: Flavour = request.param
    yield from running(flavour, tmp_path_factory.mktemp(flavour), [relay_line()])


@pytest.mark.parametrize("rule", RULES, ids=name_of)
async def test_rule(rule: Rule, server: RedisServer) -> None:
    """What every engine must do, with the rights that docs/fleet.md gives a relay."""
    async with RedisUnderTest(server) as store:
        await rule(store)
