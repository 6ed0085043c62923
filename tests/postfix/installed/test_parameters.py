"""The parameters of an instance, as `postconf` of Postfix 3.7 and 3.10 prints them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.postfix import main_cf
from postfix_mta_sts.postfix.installed.parameters import (
    LMTP_NAMES,
    NAMES,
    parse_unused,
    parse_values,
    read_parameters,
)
from postfix_mta_sts.postfix.programs import ProgramError
from tests.support.postconf import DIRECTORY, REASON, Postconf

WARNINGS = """\
postconf: warning: smtp_tlsrpt_enable: unknown parameter
/usr/sbin/postconf: warning: /etc/postfix/main.cf: unused parameter: uses_it=$own_thing = x
/usr/sbin/postconf: warning: /etc/postfix/main.cf: unused parameter: smtp_tls_policy_map=inline:{x}
postconf: warning: /etc/postfix/main.cf: unused parameter: ??_p=?
postconf: warning: /etc/postfix/main.cf: unused parameter: ??_p=?
postconf: warning: /etc/postfix/main.cf: support for parameter "smtp_use_tls" will be removed; \
instead, specify "smtp_tls_security_level"
postconf: warning: /etc/postfix/master.cf: unused parameter: smtp_tls_polcy_maps=x
"""


async def test_all(tmp_path: Path) -> None:
    """Values, what is unused, and the types of tables; the directory is the one that was given."""
    text = "mail_version = 3.10.13\nrelayhost =\nconfig_directory = /somewhere\n"
    command = Postconf(tmp_path, main=text, errors=WARNINGS, types="hash\nsocketmap\n").command
    found = await read_parameters(DIRECTORY, command)
    assert found.values == {
        "mail_version": "3.10.13",
        "relayhost": "",
        "config_directory": DIRECTORY,
    }
    assert found.unused == ("??_p=?", "smtp_tls_policy_map=inline:{x}", "uses_it=$own_thing = x")
    assert found.table_types == ("hash", "socketmap")


async def test_another_directory(tmp_path: Path) -> None:
    """Each instance is asked by its directory."""
    command = Postconf(tmp_path, directory="/etc/postfix-out").command
    assert (await read_parameters("/etc/postfix-out", command)).values["smtp_tls_loglevel"] == "1"
    with pytest.raises(ProgramError):
        await read_parameters(DIRECTORY, command)


async def test_no_types(tmp_path: Path) -> None:
    """A postconf that cannot list the types of tables leaves them unknown."""
    found = await read_parameters(DIRECTORY, Postconf(tmp_path, types=None).command)
    assert found.table_types == ()
    assert found.values["mail_version"] == "3.10.13"


async def test_an_error(tmp_path: Path) -> None:
    """The reason is what postconf said last."""
    with pytest.raises(ProgramError, match=REASON):
        await read_parameters(DIRECTORY, Postconf(tmp_path, main=None).command)


def test_names() -> None:
    """Each name is asked for once; none of those that a prediction needs is missing."""
    assert len(set(NAMES)) == len(NAMES)
    assert {*main_cf.PARAMETERS} < {*NAMES}
    assert LMTP_NAMES["smtp_tls_policy_maps"] == "lmtp_tls_policy_maps"
    assert {*LMTP_NAMES.values()} < {*NAMES}


@given(st.text())
def test_garbage(text: str) -> None:
    """Whatever postconf prints, what is read of it can be shown."""
    unused = parse_unused(f"postconf: warning: /main.cf: unused parameter: a={text}\n{text}")
    shown = [*unused, *parse_values(f"name = {text}\n{text}").values()]
    assert all(each.isprintable() for each in shown)


def test_letters() -> None:
    """The name of a file stays as it is, whatever its letters; control characters do not."""
    text = "a = texthash:/etc/postfix/b\u00fccher\nb = \x1b[31m\n"
    assert parse_values(text) == {"a": "texthash:/etc/postfix/b\u00fccher", "b": r"\x1b[31m"}
