"""For the tests of Postfix's side."""

import pytest

from tests.support.surroundings import Surroundings


@pytest.fixture
def around() -> Surroundings:
    """Surroundings in which good.test has a policy."""
    around = Surroundings()
    around.publish()
    return around
