"""Reading the parameters of smtp(8) by `postconf`, as Postfix 3.7 and 3.10 print them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.postfix.main_cf import (
    PARAMETERS,
    is_chrooted,
    level,
    parse_parameters,
    parse_services,
    parse_version,
    read_main_cf,
    to_main_cf,
)
from postfix_mta_sts.postfix.programs import ProgramError
from postfix_mta_sts.postfix.smtp_client.values import MainCf
from tests.support.scripts import script

MAIN = """\
mail_version = 3.10.13
myhostname = mail.example.com
smtp_tls_security_level = dane
smtp_tls_policy_maps = inline:{ { a.test = may } } socketmap:inet:127.0.0.1:8461:postfix
smtp_tls_CAfile = /etc/ssl/certs/ca.pem
smtp_tls_CApath =
tls_append_default_CA = yes
smtp_tls_dane_insecure_mx_policy = may
smtp_mx_address_limit = 7
smtp_balance_inet_protocols = no
compatibility_level = 3.6
inet_interfaces = loopback-only
proxy_interfaces = 192.0.2.9
inet_protocols = ipv4
"""


async def own_addresses(inet: str, proxy: str, protocols: str) -> tuple[str, ...]:
    """What the program was told, in place of addresses."""
    return (inet, proxy, protocols)


def postconf(folder: Path, main: str, service: str = "", chroot: str = "") -> list[str]:
    """A postconf that prints these texts; it fails if it is asked for anything else."""
    (folder / "main").write_text(main)
    (folder / "service").write_text(service)
    (folder / "chroot").write_text(chroot)
    body = f"""
        cd {folder}
        case "$*" in
            "-x {" ".join(PARAMETERS)}") cat main;;
            "-Px smtp/unix") cat service;;
            "-F smtp/unix/chroot") cat chroot;;
            *) exit 1;;
        esac
    """
    return [script(folder / "postconf", body)]


async def test_parameters(tmp_path: Path) -> None:
    """Each parameter arrives in its type; `-o` options of smtp/unix win."""
    service = "smtp/unix/smtp_helo_name = out.example.com\nsmtp/unix/myhostname = x.test\n"
    command = postconf(tmp_path, MAIN, service, "smtp/unix/chroot = y\n")
    assert await read_main_cf(command, own_addresses=own_addresses) == MainCf(
        version=(3, 10, 13),
        myhostname="x.test",
        smtp_helo_name="out.example.com",
        smtp_tls_security_level="dane",
        smtp_tls_policy_maps=("inline:{ { a.test = may } } socketmap:inet:127.0.0.1:8461:postfix"),
        smtp_tls_CAfile="/etc/ssl/certs/ca.pem",
        tls_append_default_CA=True,
        smtp_tls_insecure_mx_policy="may",
        smtp_mx_address_limit=7,
        smtp_balance_inet_protocols=False,
        inet_protocols="ipv4",
        smtp_is_chrooted=True,
        own_addresses=("loopback-only", "192.0.2.9", "ipv4"),
    )


async def test_no_postfix(tmp_path: Path) -> None:
    """Without a postconf there are no parameters."""
    assert await read_main_cf([str(tmp_path / "postconf")]) is None


async def test_a_postconf_that_fails(tmp_path: Path) -> None:
    """The reason is what postconf said last."""
    body = "echo 'postconf: warning: x' >&2; echo 'postconf: fatal: bad main.cf' >&2; exit 1"
    with pytest.raises(ProgramError, match=r"^postconf failed: fatal: bad main\.cf$"):
        await read_main_cf([script(tmp_path / "postconf", body)])


async def test_a_postconf_that_is_silent(tmp_path: Path) -> None:
    """Without a word from postconf the reason is its exit code."""
    with pytest.raises(ProgramError, match=r"^postconf failed: exit code 3$"):
        await read_main_cf([script(tmp_path / "postconf", "exit 3")])


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("3.10.13", (3, 10, 13)),
        ("3.12-20260821", (3, 12)),
        ("3.11-20250101-nonprod", (3, 11)),
        ("3.7.11", (3, 7, 11)),
        ("", ()),
        ("three", ()),
        ("3", ()),
    ],
)
def test_versions(text: str, version: tuple[int, ...]) -> None:
    """Releases and snapshots; empty if it is not a version."""
    assert parse_version(text) == version


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"smtp_tls_security_level": "secure", "smtp_use_tls": "yes"}, "secure"),
        ({"smtp_tls_security_level": "", "smtp_use_tls": "yes"}, "may"),
        ({"smtp_enforce_tls": "yes", "smtp_tls_enforce_peername": "no"}, "encrypt"),
        ({"smtp_enforce_tls": "yes", "smtp_tls_enforce_peername": "yes"}, "verify"),
        ({"smtp_use_tls": "no"}, ""),
        ({}, ""),
    ],
)
def test_level(values: dict[str, str], expected: str) -> None:
    """The old parameters count only if the level is empty."""
    assert level(values) == expected


@pytest.mark.parametrize(
    ("column", "compatibility", "expected"),
    [
        ("y", "3.6", True),
        ("n", "0", False),
        ("-", "0", True),
        ("-", "2", False),
        ("-", "", True),
        (None, "0", False),
    ],
)
def test_chroot(column: str | None, compatibility: str, *, expected: bool) -> None:
    """The column decides; its default depends on the compatibility level."""
    assert is_chrooted(column, compatibility) == expected


def test_services() -> None:
    """Lines of a service are told from those of another, and from those of main.cf."""
    text = "a = 1\nsmtp/unix/a = x/y = z\nsmtp/inet/a =\nfast/x/unix/b = 2\n/a = 3\nx y/a = 4\n"
    assert parse_services(text) == {
        "": {"a": "1"},
        "smtp/unix": {"a": "x/y = z"},
        "smtp/inet": {"a": ""},
        "fast/x/unix": {"b": "2"},
    }
    assert parse_parameters(text) == {"a": "1"}


def test_values_of_a_wrong_type() -> None:
    """A value that Postfix would refuse leaves the default."""
    values = {"smtp_mx_address_limit": "-1", "tls_append_default_CA": "true"}
    assert to_main_cf(values) == MainCf()


@given(st.text())
def test_garbage(text: str) -> None:
    """Whatever postconf prints, it is read or left out."""
    values = parse_parameters(text)
    to_main_cf(values | dict.fromkeys(PARAMETERS, text))
    parse_version(text)


@given(st.text(st.characters(exclude_characters="\n"), max_size=30))
def test_a_value_comes_back(value: str) -> None:
    """A value is read without the space around it, whatever it contains."""
    assert parse_parameters(f"name = {value}\n")["name"] == value.strip(" ")


def test_a_long_value() -> None:
    """A value with many spaces takes no longer than it is long: the test itself has a limit."""
    value = f"a{' ' * 200_000}b"
    assert parse_parameters(f"name = {value}{' ' * 200_000}\n") == {"name": value}
    assert parse_parameters(f"name{' ' * 200_000}\n") == {}
