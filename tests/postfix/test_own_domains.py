"""Asking `postconf` for the domains that a relay takes mail for itself."""

from pathlib import Path

from postfix_mta_sts.postfix.own_domains import read_own_domains
from tests.support.scripts import script


async def test_domains(tmp_path: Path) -> None:
    """Names are read, tables and other words are left out."""
    script(
        tmp_path / "postconf",
        """
        [ "$*" = "-x mydestination virtual_alias_domains virtual_mailbox_domains" ] || exit 1
        echo 'mydestination = mx.test, localhost  example.com,B\u00fccher.test'
        echo 'virtual_alias_domains ='
        echo 'virtual_mailbox_domains = hash:/etc/postfix/domains a.test, /etc/list !b@.test'
        """,
    )
    found = await read_own_domains([str(tmp_path / "postconf")])
    names = {"mx.test", "localhost", "example.com", "xn--bcher-kva.test", "a.test"}
    assert found == names


async def test_no_postfix(tmp_path: Path) -> None:
    """Without a Postfix, or with one that fails, there are none."""
    assert not await read_own_domains([str(tmp_path / "postconf")])
    script(tmp_path / "postconf", "exit 1")
    assert not await read_own_domains([str(tmp_path / "postconf")])
