"""The entries of tables that a version of Postfix cannot use."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.postfix.installed import entries
from postfix_mta_sts.postfix.installed.entries import BAD_LIMIT, bad_entries, read_bad_entries
from postfix_mta_sts.postfix.installed.postmap import Postmap
from postfix_mta_sts.postfix.smtp_client.values import MainCf
from tests.support.scripts import script

OLD, NEW = MainCf(version=(3, 7, 11)), MainCf(version=(3, 10, 13))


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no error."""
    monkeypatch.setattr(entries, "TIMEOUT", 60.0)


def listing(folder: Path, body: str) -> Postmap:
    """A postmap(1) whose listing of any table is what these lines of shell print."""
    program = script(folder / "postmap", f'[ "$1" = -s ] || exit 1\n{body}')
    return Postmap((program,), str(folder), None)


def test_by_version() -> None:
    """An entry with an attribute of a later version is bad for an earlier one."""
    lines = [b"a.test\tsecure policy_type=sts", b"b.test\tmai", b"c.test\tmay", b"d.test"]
    assert [key for key, _ in bad_entries(lines, NEW)] == ["b.test", "d.test"]
    assert dict(bad_entries(lines, OLD))["a.test"] == (
        "this version of Postfix has no attribute 'policy_type'"
    )


async def test_a_listing(tmp_path: Path) -> None:
    """Keys are listed with the reasons."""
    postmap = listing(tmp_path, 'printf "a.test\\tmay\\nb.test\\tmai\\n"; pwd >&2')
    ((key, reason),) = await read_bad_entries("hash:/a", NEW, postmap)
    assert key == "b.test"
    assert "mai" in reason


async def test_not_more_than_ten(tmp_path: Path) -> None:
    """Ten bad entries are enough, of a table without end."""
    postmap = listing(tmp_path, 'yes "$(printf "a.test\\tmai")"')
    assert len(await read_bad_entries("texthash:/a", NEW, postmap)) == BAD_LIMIT


async def test_not_all_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries behind the limit are not looked at."""
    monkeypatch.setattr(entries, "ENTRIES_LIMIT", 2)
    body = 'printf "a.test\\tmay\\nb.test\\tmay\\nc.test\\tmai\\n"; exec yes "a"'
    assert await read_bad_entries("lmdb:/a", NEW, listing(tmp_path, body)) == ()


async def test_not_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read until the time was over counts."""
    monkeypatch.setattr(entries, "TIMEOUT", 1.0)
    postmap = listing(tmp_path, 'printf "a.test\\tmai\\n"; sleep 600')
    found = await read_bad_entries("cdb:/a", NEW, postmap)
    assert [key for key, _ in found] in (["a.test"], [])


@pytest.mark.parametrize("table", ["regexp:/a", "static:mai", "proxy:hash:/a", "inline:{a=mai}"])
async def test_types_without_a_list(tmp_path: Path, table: str) -> None:
    """Types that cannot be listed are left alone."""
    postmap = listing(tmp_path, f'touch {tmp_path}/asked; printf "a.test\\tmai\\n"')
    assert await read_bad_entries(table, NEW, postmap) == ()
    assert not (tmp_path / "asked").exists()


async def test_no_list(tmp_path: Path) -> None:
    """A table that cannot be read has no entries; why not, its look-up says."""
    assert await read_bad_entries("hash:/a", NEW, listing(tmp_path, "exit 1")) == ()
    missing = Postmap(("no-such-program",), str(tmp_path), None)
    assert await read_bad_entries("hash:/a", NEW, missing) == ()


@given(st.lists(st.binary(max_size=40)))
def test_any_entries(lines: list[bytes]) -> None:
    """Whatever a table holds, it is shown as printable text."""
    for key, reason in bad_entries(lines, OLD):
        assert f"{key}{reason}".isprintable()
        assert reason
