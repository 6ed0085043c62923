"""What several files of this folder need: a Policy Host, and fetchers that know only that one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from postfix_mta_sts.network.https import PolicyFetcher
from tests.support.fetchers import HOST, POLICY, Fetchers
from tests.support.internet import authority
from tests.support.policy_host import PolicyHost, ok


@pytest.fixture
async def host() -> AsyncIterator[PolicyHost]:
    """A Policy Host for every name, with a good policy for one domain."""
    async with PolicyHost(authority()) as host:
        host.answers[HOST] = ok(POLICY)
        yield host


@pytest.fixture
async def fetchers(host: PolicyHost, tmp_path: Path) -> AsyncIterator[Fetchers]:
    """A maker of fetchers with other settings than the defaults."""
    fetchers = Fetchers(host, authority().write(tmp_path))
    yield fetchers
    await fetchers.close()


@pytest.fixture
def fetcher(fetchers: Fetchers) -> PolicyFetcher:
    """A fetcher with default settings."""
    return fetchers()
