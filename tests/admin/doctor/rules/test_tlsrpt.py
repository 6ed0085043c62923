"""The socket of TLS reports."""

import pytest

from postfix_mta_sts.admin.doctor.report import Effect
from postfix_mta_sts.admin.doctor.rules.tlsrpt import RULES
from postfix_mta_sts.admin.doctor.snapshot import Snapshot
from postfix_mta_sts.postfix.installed.values import Reach, Standpoint
from tests.support.judged import found, only
from tests.support.snapshots import VERSIONS, changed, good, reach, with_parameters

MEND = "postconf -e 'smtp_tlsrpt_enable = no' && postfix reload"


def reporting(result: Reach | None, name: str = "run/tlsrpt.sock", version: str = "") -> Snapshot:
    """A Postfix that gives reports to this socket."""
    seen = good(version or "3.10.13")
    seen = with_parameters(seen, smtp_tlsrpt_enable="yes", smtp_tlsrpt_socket_name=name)
    return changed(seen, tlsrpt=result)


@pytest.mark.parametrize("version", VERSIONS)
def test_good(version: str) -> None:
    """Reports are off by default, and Postfix 3.7 has none."""
    assert not found(RULES, good(version))


def test_collector() -> None:
    """A collector that takes them is fine."""
    assert not found(RULES, reporting(reach()))


@pytest.mark.parametrize("error", ["ENOENT", "ECONNREFUSED", "EACCES"])
def test_no_collector(error: str) -> None:
    """A collector that Postfix cannot reach gets nothing."""
    finding = only(RULES, reporting(reach(error)))
    assert (finding.id, finding.effect, finding.mend) == ("tlsrpt-socket", Effect.NONE, MEND)
    assert finding.what == (
        f"smtp_tlsrpt_enable is yes, and run/tlsrpt.sock cannot be reached: ({error})"
    )


def test_no_name() -> None:
    """Without a name Postfix cannot reach any."""
    finding = only(RULES, reporting(None, name=""))
    assert finding.what == "smtp_tlsrpt_enable is yes, and smtp_tlsrpt_socket_name is empty"


@pytest.mark.parametrize(
    "result",
    [None, reach("late"), reach("EACCES", Standpoint.SELF), reach("EPERM", Standpoint.SELF)],
)
def test_not_seen(result: Reach | None) -> None:
    """What was not tried as user postfix, or took too long, says nothing."""
    assert not found(RULES, reporting(result))


def test_not_there_for_anybody() -> None:
    """A socket that does not exist is missing for every user."""
    assert found(RULES, reporting(reach("ENOENT", Standpoint.SELF)))


def test_old_postfix() -> None:
    """Postfix 3.7 does not know the parameter, which is another finding."""
    assert not found(RULES, reporting(reach("ENOENT"), version="3.7.11"))
