"""Entries of transport_maps for all domains."""

from pathlib import Path

import pytest

from postfix_mta_sts.postfix.installed import postmap
from postfix_mta_sts.postfix.installed.transports import read_catch_all
from tests.support.instances import instance
from tests.support.scripts import script


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no error."""
    monkeypatch.setattr(postmap, "TIMEOUT", 60.0)


def tables(folder: Path) -> tuple[str]:
    """A postmap(1) that knows some tables."""
    body = """
        case "$5 $4" in
            "regexp:/address "*@*) echo "smtp:[address.test]";;
            "regexp:/domain "*@*) exit 1;;
            "regexp:/domain doctor-"*) echo "smtp:[domain.test]";;
            "hash:/star *") echo "smtp:[star.test]";;
            "hash:/none "*) echo "postmap: fatal: open /none: No such file" >&2; exit 1;;
            *) exit 1;;
        esac
    """
    return (script(folder / "postmap", body),)


@pytest.mark.parametrize(
    ("value", "entry"),
    [
        ("", None),
        ("hash:/a", None),
        ("hash:/star", "smtp:[star.test]"),
        ("hash:/a, regexp:/domain", "smtp:[domain.test]"),
        ("regexp:/address", "smtp:[address.test]"),
        ("hash:/star regexp:/domain", "smtp:[domain.test]"),
        ("hash:/none hash:/star", None),
    ],
)
async def test_catch_all(tmp_path: Path, value: str, entry: str | None) -> None:
    """Addresses come before domains, and these before `*`; an error ends the search."""
    where = instance(tmp_path, transport_maps=value)
    assert await read_catch_all(where, None, postmap=tables(tmp_path)) == entry
