"""Asking tables by postmap(1): for which instance, as whom, and for which domain."""

from pathlib import Path

import pytest

from postfix_mta_sts.permissions import Account
from postfix_mta_sts.postfix.installed import postmap
from postfix_mta_sts.postfix.installed.postmap import Postmap, file_of, unused_domain
from postfix_mta_sts.postfix.installed.values import Instance
from postfix_mta_sts.postfix.policy_maps import Table
from tests.support.instances import instance
from tests.support.scripts import script

POSTFIX = Account(12345, 54321)


@pytest.mark.parametrize(
    ("table", "file"),
    [
        ("hash:/etc/postfix/tls", "/etc/postfix/tls"),
        ("proxy:mysql:/etc/postfix/tls.cf", "/etc/postfix/tls.cf"),
        ("texthash:tls", ""),
        ("ldap:tls", ""),
        ("static:/etc", ""),
        ("inline:{a.test=may}", ""),
        ("socketmap:unix:/run/sock:m", ""),
        ("/etc/postfix/tls", ""),
    ],
)
def test_files(table: str, file: str) -> None:
    """Only some types have a file in their name."""
    assert file_of(table) == file


def test_a_domain_that_nobody_has() -> None:
    """Each is another one, below a name that nobody can register."""
    first, second = unused_domain(), unused_domain()
    assert first != second
    assert first.endswith(".invalid")


async def test_which_main_cf(tmp_path: Path) -> None:
    """postmap(1) reads the main.cf of the instance, and runs in its queue directory."""
    program = script(tmp_path / "postmap", 'echo "$1 $2 $3 $4 $5 $PWD"')
    here = Postmap.of(instance(tmp_path), None, [program])
    assert (
        await here.look_up("hash:/a", ["k"])
    ).found == f"-c /etc/postfix -q k hash:/a {tmp_path}"
    unknown = Postmap.of(Instance("-", "", {"queue_directory": str(tmp_path)}), None, [program])
    assert (await unknown.look_up("hash:/a", ["k"])).found == f"-q k hash:/a {tmp_path}"


@pytest.mark.parametrize(
    ("table", "account"),
    [
        ("hash:/a", None),
        ("proxy:hash:/a", POSTFIX),
        ("unionmap:{static:a, proxy:hash:/a}", POSTFIX),
        ("proxy:unionmap:{static:a, hash:/a}", POSTFIX),
        ("proxy:unionmap:{}", POSTFIX),
    ],
)
async def test_as_whom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str, account: Account | None
) -> None:
    """smtp(8) opens a table while it is root; proxymap(8) is the user of Postfix."""
    seen: list[object] = []

    async def look_up(name: str, *_: object, **options: object) -> Table:
        seen.append(options["account"])
        return Table(name, is_ours=False)

    monkeypatch.setattr(postmap, "look_up", look_up)
    await Postmap.of(instance(tmp_path), POSTFIX).look_up(table, ["k"])
    assert seen == [account]


@pytest.mark.parametrize(
    ("table", "error", "plain_user"),
    [
        ("hash:/a", "", ""),
        ("hash:/a", "open /a: No such file or directory", ""),
        ("hash:/a", "open /a: Permission denied", "open /a: Permission denied"),
        ("proxy:hash:/a", "", "this user may not ask proxymap(8)"),
    ],
)
def test_errors_of_a_plain_user(tmp_path: Path, table: str, error: str, plain_user: str) -> None:
    """What a plain user may not do says nothing about Postfix; what root may not do does."""
    assert Postmap.of(instance(tmp_path), None).why_not(table, error) == plain_user
    assert Postmap.of(instance(tmp_path), POSTFIX).why_not(table, error) == ""
