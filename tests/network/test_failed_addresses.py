"""Which addresses of a host the next fetch tries last."""

import pytest

from postfix_mta_sts.network import failed_addresses
from postfix_mta_sts.network.failed_addresses import FailedAddresses


def test_order() -> None:
    """Those that failed come last, the latest at the end; a success takes it back."""
    failed = FailedAddresses()
    failed.add("a.test", "1")
    failed.add("a.test", "2")
    assert failed.last("a.test", ["1", "2", "3", "4"]) == ["3", "4", "1", "2"]
    assert failed.last("b.test", ["1", "2", "3", "4"]) == ["1", "2", "3", "4"]
    failed.add("a.test", "1")
    assert failed.last("a.test", ["1", "2", "3"]) == ["3", "2", "1"]
    failed.remove("a.test", "1")
    assert failed.last("a.test", ["1", "2", "3"]) == ["1", "3", "2"]


def test_few_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of addresses is limited; the oldest is forgotten."""
    monkeypatch.setattr(failed_addresses, "MAX_ADDRESSES", 2)
    failed = FailedAddresses()
    for address in ("1", "2", "3"):
        failed.add("a.test", address)
    assert failed.last("a.test", ["3", "2", "1"]) == ["1", "2", "3"]
