"""Tables of smtp_tls_policy_maps without a server: what postmap(1) says of them."""

from pathlib import Path

import pytest

from postfix_mta_sts.permissions import Account
from postfix_mta_sts.postfix.installed import postmap
from postfix_mta_sts.postfix.installed.tables import read_tables_of
from postfix_mta_sts.postfix.installed.values import TableSeen
from tests.support.instances import instance, service
from tests.support.scripts import script

POSTFIX = Account(12345, 54321)


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no error."""
    monkeypatch.setattr(postmap, "TIMEOUT", 60.0)


def other_tables(folder: Path) -> tuple[str]:
    """A postmap(1) with some tables; its arguments are `-c DIR -q KEY TABLE`, or `-s TABLE`."""
    body = """
        case "$3 $4 $5" in
            "-q doctor-"*".invalid static:may") echo may;;
            "-q "*" hash:/none") echo "postmap: fatal: open database /none.db: No such file" >&2
                exit 1;;
            "-q "*" inet:127.0.0.1:1:m")
                echo "postmap: fatal: unsupported dictionary type: inet" >&2; exit 1;;
            "-q "*" hash:/denied") echo "postmap: fatal: open /denied: Permission denied" >&2
                exit 1;;
            "-s hash:/a ") printf 'a.test\\tmay\\nb.test\\tmai\\n';;
            *) exit 1;;
        esac
    """
    return (script(folder / "postmap", body),)


async def other(folder: Path, table: str, account: Account | None = None) -> TableSeen:
    """What is seen of one other table."""
    where = instance(folder, service(tables=table))
    (seen,) = await read_tables_of(where, (), account, postmap=other_tables(folder))
    return seen


async def test_a_table_for_all(tmp_path: Path) -> None:
    """An entry for a domain that nobody has is one for all."""
    assert await other(tmp_path, "static:may") == TableSeen("static:may", answer="may")


async def test_tables_that_fail(tmp_path: Path) -> None:
    """The error is that of postmap(1); the file is named."""
    assert await other(tmp_path, "hash:/none") == TableSeen(
        "hash:/none", error="open database /none.db: No such file", file="/none"
    )
    seen = await other(tmp_path, "inet:127.0.0.1:1:m")
    assert seen.error == "unsupported dictionary type: inet"
    assert seen.server is None


async def test_bad_entries(tmp_path: Path) -> None:
    """A table without an entry for all may have some that Postfix cannot use."""
    seen = await other(tmp_path, "hash:/a")
    assert (seen.answer, seen.error, seen.file) == (None, "", "/a")
    assert [key for key, _ in seen.bad_entries] == ["b.test"]


async def test_what_a_plain_user_cannot_see(tmp_path: Path) -> None:
    """A table that only root or Postfix may open is not seen, and has no error."""
    seen = await other(tmp_path, "hash:/denied")
    assert (seen.error, seen.unasked) == ("", ("open /denied: Permission denied",))
    assert (
        await other(tmp_path, "hash:/denied", POSTFIX)
    ).error == "open /denied: Permission denied"
    seen = await other(tmp_path, "proxy:hash:/a")
    assert (seen.error, seen.unasked) == ("", ("this user may not ask proxymap(8)",))


async def test_without_postmap(tmp_path: Path) -> None:
    """Without postmap(1) that is the error."""
    where = instance(tmp_path, service(tables="hash:/a"))
    (seen,) = await read_tables_of(where, (), None, postmap=("no-such-program",))
    assert seen.error == "no-such-program was not found"
