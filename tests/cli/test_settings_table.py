"""The table of `check-config --show`, in a terminal and for a pipe."""

import pytest

from postfix_mta_sts.cli.settings_table import fitted, plain

FILE = "/etc/postfix-mta-sts.yml"
PREFIXES = "[10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, fd00::/8, 100.64.0.0/10]"
ROWS = [
    ("log.level", "debug", f"{FILE}:3"),
    ("https.timeout", "9s", "POSTFIX_MTA_STS__HTTPS__TIMEOUT"),
    ("maps.QUERYwithTLSRPT.enforce_testing", "false", "default"),
    ("https.allow_private_addresses", PREFIXES, "POSTFIX_MTA_STS__HTTPS__ALLOW_PRIVATE_ADDRESSES"),
    ("cache.path", f"/{'x' * 60}", f"{FILE}:12"),
    ("control.path", f"/{'y' * 90}", "default"),
]


def test_terminal() -> None:
    """What has no room in the line of its key follows; each line fits, but for a long path."""
    indent = " " * 38
    assert list(fitted(ROWS, 80, FILE)) == [
        f"# lines are those of {FILE}",
        "log.level                             debug                 line 3",
        "https.timeout                         9s  POSTFIX_MTA_STS__HTTPS__TIMEOUT",
        "maps.QUERYwithTLSRPT.enforce_testing  false                 default",
        "https.allow_private_addresses         [10.0.0.0/8, 172.16.0.0/12,",
        f"{indent}192.168.0.0/16, fd00::/8, 100.64.0.0/10]",
        f"{indent}POSTFIX_MTA_STS__HTTPS__ALLOW_PRIVATE_ADDRESSES",
        "cache.path",
        f"    /{'x' * 60}  line 12",
        "control.path",
        f"    /{'y' * 90}",
        "    default",
    ]


@pytest.mark.parametrize("width", [1, 4, 20, 40, 80, 200])
def test_any_width(width: int) -> None:
    """Every value and source is there, whatever the width."""
    words = " ".join(fitted(ROWS, width, FILE)).split()
    for row in ROWS:
        for part in row:
            assert set(part.replace(f"{FILE}:", "line ").split()) <= set(words)


def test_pipe() -> None:
    """A row is one line."""
    lines = list(plain(ROWS))
    assert len(lines) == len(ROWS)
    assert lines[0] == f"log.level                     debug                 {FILE}:3"
