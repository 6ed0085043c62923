"""The status of the daemon: what has its form is kept, and what a hostile one says does no harm."""

from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.admin.client import ControlError
from postfix_mta_sts.admin.doctor.daemon_status import checked
from postfix_mta_sts.admin.doctor.judge import judge
from tests.support.snapshots import good

GOOD: Final[dict[str, Any]] = dict(good().daemon.status or {})
TRIAL: Final = {"maps": {"postfix": True}, "other": False}
FULL: Final = {**GOOD, "trial": TRIAL, "sandbox": {"files": True, "missing": []}}
ANY: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda each: st.lists(each) | st.dictionaries(st.text(), each),
    max_leaves=5,
)
"""What JSON can be."""


def test_good() -> None:
    """The status of a daemon is kept, but for what no rule looks at."""
    assert checked(FULL) == {
        key: value
        for key, value in FULL.items()
        if key not in {"degraded", "exceptions", "failing", "last_asked_at"}
    }


def test_reasons() -> None:
    """A part need not say why it does not work."""
    reasons = {"dns": None, "store": "disk full"}
    assert checked({"reasons": reasons}) == {"reasons": reasons}


@pytest.mark.parametrize(
    "wrong",
    [
        {"pid": "1; reboot"},
        {"pid": -1},
        {"pid": 0},
        {"pid": 1},
        {"pid": True},
        {"store_path": "/a\0b"},
        {"store_path": ["/a"]},
        {"started_at": 1e300},
        {"configured_at": float("nan")},
        {"answering": {}},
        {"answering": True},
        {"trial": {"maps": []}},
        {"listening": "127.0.0.1"},
        {"not_working": 3},
        {"version": None},
        {"version": "x" * 30_000},
        {"listening": ["x"] * 30_000},
        {"reasons": {"dns": "\ud800"}},
    ],
)
def test_wrong(wrong: dict[str, Any]) -> None:
    """What has another form is left out; a command for root is made of the process id."""
    kept = {key: value for key, value in checked(FULL).items() if key not in wrong}
    assert checked({**FULL, **wrong}) == kept


@pytest.mark.parametrize("status", [None, [], "ok", 3])
def test_no_status(status: object) -> None:
    """What is no object is no status."""
    with pytest.raises(ControlError, match="not the daemon"):
        checked(status)


@given(st.dictionaries(st.sampled_from([*FULL, "x"]), ANY))
def test_any(status: dict[str, Any]) -> None:
    """Whatever a daemon says, there is a report."""
    seen = replace(good(), daemon=replace(good().daemon, status=checked(status)))
    assert judge(seen).exit_code in {0, 1, 2}
