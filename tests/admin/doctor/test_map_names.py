"""Which of the daemon's maps suits a version of Postfix."""

import pytest

from postfix_mta_sts.admin.doctor.map_names import right_name, unknown_attribute, written
from postfix_mta_sts.config.settings import MapSettings, Settings, TrialSettings


@pytest.mark.parametrize(
    ("version", "asked", "expected"),
    [
        ((3, 10, 13), "", "QUERYwithTLSRPT"),
        ((3, 10, 13), "postfix", "QUERYwithTLSRPT"),
        ((3, 10, 13), "mine", "mine"),
        ((3, 10, 13), "strict", "strict_reports"),
        ((3, 10, 13), "try", "try_reports"),
        ((3, 9, 2), "", "postfix"),
        ((3, 7, 11), "QUERY", "QUERY"),
        ((3, 7, 11), "QUERYwithTLSRPT", "postfix"),
        ((3, 7, 11), "strict_reports", "strict"),
        ((3, 7, 11), "unknown", "postfix"),
        ((3, 3), "postfix", "old"),
        ((), "", "postfix"),
        ((), "QUERYwithTLSRPT", "QUERYwithTLSRPT"),
    ],
)
def test_names(version: tuple[int, ...], asked: str, expected: str) -> None:
    """The map fits the version, and is otherwise like the one that is asked."""
    maps = {
        **Settings().maps,
        "mine": MapSettings(tlsrpt=True),
        "strict": MapSettings(enforce_testing=True),
        "strict_reports": MapSettings(enforce_testing=True, tlsrpt=True),
        "try": MapSettings(trial=True),
        "try_reports": MapSettings(trial=True, tlsrpt=True),
        "old": MapSettings(servername=False),
    }
    assert right_name(Settings(maps=maps), version, asked) == expected


def test_names_keep_the_trial() -> None:
    """A map on trial stays if no other one is, since policies would be enforced."""
    settings = Settings(maps={**Settings().maps, "try": MapSettings(trial=True)})
    assert right_name(settings, (3, 10), "try") == "try"
    on_trial = Settings(trial=TrialSettings(enabled=True))
    assert right_name(on_trial, (3, 10), "postfix") == "QUERYwithTLSRPT"


@pytest.mark.parametrize(
    ("version", "expected"),
    [((3, 10), "QUERYwithTLSRPT"), ((3, 7), "postfix"), ((3, 3), "postfix")],
)
def test_names_without_one_that_fits(version: tuple[int, ...], expected: str) -> None:
    """Where no map fits, the names of README stand."""
    form = MapSettings(tlsrpt=version < (3, 10))
    settings = Settings(maps=dict.fromkeys(("postfix", "QUERYwithTLSRPT"), form))
    assert right_name(settings, version) == expected


@pytest.mark.parametrize(
    ("version", "form", "attribute"),
    [
        ((3, 9, 9), MapSettings(tlsrpt=True), "policy_type"),
        ((3, 10), MapSettings(tlsrpt=True), ""),
        ((3, 3, 22), MapSettings(), "servername"),
        ((3, 3, 22), MapSettings(servername=False), ""),
        ((3, 4), MapSettings(), ""),
        ((), MapSettings(tlsrpt=True), ""),
    ],
)
def test_unknown_attribute(version: tuple[int, ...], form: MapSettings, attribute: str) -> None:
    """The first attribute that the version does not know; an unknown version knows all."""
    assert unknown_attribute(form, version) == attribute


def test_written() -> None:
    """Versions are written with dots."""
    assert written((3, 10, 13)) == "3.10.13"
