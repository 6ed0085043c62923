"""For tests of the conversation with Postfix."""

import pytest

from tests.support.surroundings import Surroundings


@pytest.fixture
def around() -> Surroundings:
    """Fake sources in which good.test has a policy."""
    around = Surroundings()
    around.publish()
    return around
