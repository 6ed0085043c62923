"""Fixtures for the tests of the probe."""

from pathlib import Path

import pytest

from postfix_mta_sts.network.smtp.tls import Trust
from tests.support.tls import Authority, Credential


@pytest.fixture(scope="session")
def trust(ca_file: Path) -> Trust:
    """Postfix with the CA of the tests."""
    return Trust(str(ca_file), "", append_default_ca=False)


@pytest.fixture(scope="session")
def credential(authority: Authority) -> Credential:
    """A valid certificate."""
    return authority.issue("mx.test")
