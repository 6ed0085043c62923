"""PostgreSQL 15 and 17 keep the rules of a shared store, and so does one behind PgBouncer."""

from collections.abc import Iterator

import pytest

from tests.fleet.postgresql_relays import PostgresqlUnderTest
from tests.fleet.postgresql_servers import PostgresqlServer, Version, pgbouncer, running
from tests.support.engine_suite import RULES, Rule, name_of


@pytest.fixture(scope="module", params=Version, ids=lambda version: version.name)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PostgresqlServer]:
    """Each PostgreSQL in turn."""
    version: Version = request.param
    yield from running(version, tmp_path_factory.mktemp("postgresql") / "server")


@pytest.mark.parametrize("rule", RULES, ids=name_of)
async def test_rule(rule: Rule, server: PostgresqlServer) -> None:
    """What every engine must do, with the rights that docs/fleet.md gives a relay."""
    async with PostgresqlUnderTest(server) as store:
        await rule(store)


async def test_rules_behind_pgbouncer(
    server: PostgresqlServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The same in transaction mode, with two sessions of the server for all relays."""
    folder = tmp_path_factory.mktemp("pgbouncer") / "files"
    with pgbouncer(folder, server, ["default_pool_size = 2"]) as pooler:
        for rule in RULES:
            async with PostgresqlUnderTest(server, pooler.settings()) as store:
                await rule(store)
