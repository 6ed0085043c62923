"""The services of master.cf that send mail, as `postconf` of Postfix 3.7 and 3.10 prints them."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.postfix.installed.parameters import parse_values
from postfix_mta_sts.postfix.installed.services import (
    MasterCf,
    as_lmtp_reads,
    read_master_cf,
    services_of,
)
from postfix_mta_sts.postfix.installed.values import Service
from postfix_mta_sts.postfix.main_cf import to_main_cf
from postfix_mta_sts.postfix.programs import ProgramError
from postfix_mta_sts.values import replace
from tests.support.postconf import DIRECTORY, MAIN, REASON, Postconf

VALUES = parse_values(MAIN)
OURS = VALUES["smtp_tls_policy_maps"]


def one(
    command: str, options: Mapping[str, str], chroot: str = "n", level: str = "3.9"
) -> Service | None:
    """The service with this command, options and column."""
    columns = {"out/unix": {"command": command, "chroot": chroot}}
    master_cf = MasterCf(columns, {"out/unix": options, "smtp/unix": {"smtp_tls_loglevel": "3"}})
    return next(iter(services_of(master_cf, VALUES | {"compatibility_level": level})), None)


async def test_stock(tmp_path: Path) -> None:
    """The services of Debian, in their order: each with its column, its options and parameters."""
    found = services_of(await read_master_cf(DIRECTORY, Postconf(tmp_path).command), VALUES)
    assert [(each.name, each.command, each.is_chrooted) for each in found] == [
        ("smtp/unix", "smtp", True),
        ("relay/unix", "smtp", False),
        ("lmtp/unix", "lmtp", False),
    ]
    assert [each.overrides for each in found] == [{}, {"syslog_name": "postfix/relay"}, {}]
    main_cf = to_main_cf(VALUES)
    assert found[0].main_cf == replace(main_cf, smtp_is_chrooted=True)
    assert found[1].main_cf == main_cf
    assert main_cf.smtp_tls_policy_maps == OURS


async def test_command_as_written(tmp_path: Path) -> None:
    """It is that of the file: `postconf` divides options without a space at the wrong places."""
    (tmp_path / "master.cf").write_text(
        "smtp unix - - y - - smtp -osyslog_name=x\nrelay unix - - - - - smtp\n -o a = \xfc\x07\n",
        "latin-1",
    )
    command = Postconf(tmp_path, directory=str(tmp_path)).command
    found = services_of(await read_master_cf(str(tmp_path), command), VALUES)
    assert [each.written for each in found] == [
        "smtp -osyslog_name=x",
        r"smtp -o a = \ufffd\x07",
        "",
    ]


async def test_unusual_lines(tmp_path: Path) -> None:
    """Names with slashes, services of other types, braces, options after a command."""
    columns = """\
fast/x/unix/command = smtp -v -o { smtp_tls_policy_maps = inline:{ {a.test=may} } }
smtpd/unix/command = smtpd
pipe/unix/command = pipe flags=R argv=/usr/bin/x smtp
empty/unix/command =
fast/x/unix/chroot = y
"""
    options = """\
127.0.0.1:999/inet/smtp_tls_policy_maps = other
fast/x/unix/smtp_tls_policy_maps = inline:{ {a.test=may} }
fast/x/unix/smtp_helo_name = \x1b[m
"""
    command = Postconf(tmp_path, columns=columns, options=options).command
    (found,) = services_of(await read_master_cf(DIRECTORY, command), VALUES)
    assert (found.name, found.is_chrooted) == ("fast/x/unix", True)
    assert found.main_cf.smtp_tls_policy_maps == "inline:{ {a.test=may} }"
    assert found.overrides["smtp_helo_name"] == r"\x1b[m"


@pytest.mark.parametrize("missing", ["columns", "options"])
async def test_no_master_cf(tmp_path: Path, missing: str) -> None:
    """A master.cf that cannot be read is an error with the reason of postconf."""
    command = Postconf(tmp_path, **{missing: None}).command  # type: ignore[arg-type]
    with pytest.raises(ProgramError, match=REASON):
        await read_master_cf(DIRECTORY, command)


def test_own_options() -> None:
    """An option wins, also if it is empty; those of another service do not count."""
    assert (found := one("smtp", {"smtp_tls_policy_maps": ""}))
    assert found.main_cf.smtp_tls_policy_maps == ""
    assert found.main_cf.smtp_tls_security_level == "may"
    assert found.overrides == {"smtp_tls_policy_maps": ""}


def test_lmtp() -> None:
    """The lmtp(8) client reads no parameter of smtp(8), from neither file."""
    options = {"smtp_tls_policy_maps": OURS, "lmtp_tls_security_level": "encrypt"}
    assert (found := one("lmtp", options))
    assert found.main_cf.smtp_tls_policy_maps == ""
    assert found.main_cf.smtp_tls_security_level == "encrypt"
    assert found.main_cf.version == (3, 10, 13)
    assert found.overrides == options


def test_lmtp_with_a_map() -> None:
    """Its own parameters count, if there are any."""
    assert (found := one("lmtp", {"lmtp_tls_policy_maps": OURS}))
    assert found.main_cf.smtp_tls_policy_maps == OURS
    assert (other := one("smtp", {"lmtp_tls_policy_maps": "static:may"}))
    assert other.main_cf.smtp_tls_policy_maps == OURS


@pytest.mark.parametrize(
    ("column", "level", "expected"),
    [("y", "3.9", True), ("n", "0", False), ("-", "0", True), ("-", "2", False)],
)
def test_chroot(column: str, level: str, *, expected: bool) -> None:
    """The column decides; its default depends on the compatibility level of main.cf."""
    assert (found := one("smtp", {"compatibility_level": "1"}, column, level))
    assert found.is_chrooted == found.main_cf.smtp_is_chrooted == expected


@pytest.mark.parametrize("command", ["smtpd", "pipe argv=smtp", "", "local"])
def test_other_programs(command: str) -> None:
    """Only the name of the program counts."""
    assert one(command, {}) is None


@given(st.dictionaries(st.sampled_from(["smtp_tls_CAfile", "lmtp_tls_CAfile", "a"]), st.text()))
def test_what_lmtp_reads(values: dict[str, str]) -> None:
    """A parameter of smtp(8) is never what lmtp(8) reads."""
    seen = as_lmtp_reads(values)
    assert seen.get("smtp_tls_CAfile") == values.get("lmtp_tls_CAfile")
    assert seen.get("a") == values.get("a")
