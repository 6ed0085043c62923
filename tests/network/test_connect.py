"""Connecting to an address: a fault of this process is told from one of the host."""

import pytest

from postfix_mta_sts.mtasts.errors import OwnFaultError
from postfix_mta_sts.network.connect import connect
from tests.support.files import no_descriptor_free


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["::1", "127.0.0.1"]])
async def test_no_descriptor(addresses: list[str]) -> None:
    """If this process can open no socket, that is its own fault, and says nothing of the host."""
    with no_descriptor_free(), pytest.raises(OwnFaultError, match="no socket: Too many open files"):
        await connect(addresses, 443, lambda _: None)
