"""The instances of Postfix, as postmulti(1) lists them, or as main.cf names them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.postfix.installed.instances import parse_instances, read_instances
from postfix_mta_sts.postfix.programs import ProgramError
from tests.support.scripts import script

ONE = "-               -               y         /etc/postfix\n"
THREE = f"""\
{ONE}postfix-out     mta             y         /etc/postfix-out
postfix-off     -               n         /etc/postfix-off
"""
FAILS = "echo 'postconf: fatal: /etc/postfix/main.cf, line 3: missing' >&2; exit 1"


def postmulti(folder: Path, text: str, code: int = 0) -> list[str]:
    """A postmulti that prints this list."""
    body = f'[ "$*" = -l ] || exit 3\ncat <<END\n{text}END\nexit {code}'
    return [script(folder / "postmulti", body)]


def postconf(folder: Path, **cases: str) -> list[str]:
    """A postconf that runs these lines of shell, by the letter of the first option."""
    lines = "".join(f"-{option}) {line};;\n" for option, line in cases.items())
    return [script(folder / "postconf", f'case "$1" in\n{lines}*) exit 9;;\nesac')]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ONE, (("-", "/etc/postfix"),)),
        (THREE, (("-", "/etc/postfix"), ("postfix-out", "/etc/postfix-out"))),
        (ONE.replace(" y ", " n "), (("-", "/etc/postfix"),)),
        (f"warning: something\n{ONE}", (("-", "/etc/postfix"),)),
        (THREE.replace(" y ", " n ", 1), (("postfix-out", "/etc/postfix-out"),)),
        ("a\x1b[m  -  y  /etc/my postfix", (("a\\x1b[m", "/etc/my postfix"),)),
        ("", ()),
    ],
)
def test_lists(text: str, expected: tuple[tuple[str, str], ...]) -> None:
    """The enabled ones are read, and the primary one if none is enabled."""
    assert parse_instances(text) == expected


async def test_listed(tmp_path: Path) -> None:
    """Where postmulti has a list, postconf is not asked."""
    found = await read_instances(postmulti(tmp_path, THREE), ["no-such-program"])
    assert found == (("-", "/etc/postfix"), ("postfix-out", "/etc/postfix-out"))


@pytest.mark.parametrize(("text", "code"), [(THREE, 1), ("", 0)])
async def test_no_list(tmp_path: Path, text: str, code: int) -> None:
    """Postmulti fails if one instance has an error in main.cf; then main.cf names them."""
    asked = postconf(
        tmp_path,
        x='[ "$*" = "-x config_directory multi_instance_directories" ] || exit 9; '
        "echo config_directory = /etc/postfix; "
        "echo multi_instance_directories = /etc/postfix-out, /etc/off",
    )
    assert await read_instances(postmulti(tmp_path, text, code), asked) == (
        ("-", "/etc/postfix"),
        ("postfix-out", "/etc/postfix-out"),
        ("off", "/etc/off"),
    )


async def test_no_main_cf(tmp_path: Path) -> None:
    """If main.cf of the primary instance cannot be read, its directory is the compiled one."""
    asked = postconf(tmp_path, x=FAILS, d="echo config_directory = /opt/postfix")
    assert await read_instances(postmulti(tmp_path, "", 1), asked) == (("-", "/opt/postfix"),)


async def test_no_postmulti(tmp_path: Path) -> None:
    """A Postfix without postmulti, as in some containers, has one instance."""
    asked = postconf(tmp_path, x="echo config_directory = /etc/postfix")
    assert await read_instances([str(tmp_path / "none")], asked) == (("-", "/etc/postfix"),)


async def test_no_postfix(tmp_path: Path) -> None:
    """Without postconf there is no Postfix."""
    assert await read_instances([str(tmp_path / "none")], [str(tmp_path / "none")]) == ()


async def test_a_broken_postfix(tmp_path: Path) -> None:
    """A postconf that cannot even say its defaults is an error with its reason."""
    asked = postconf(tmp_path, x=FAILS, d="echo 'postconf: error: libpostfix-global' >&2; exit 127")
    with pytest.raises(ProgramError, match=r"^postconf failed: error: libpostfix-global$"):
        await read_instances(postmulti(tmp_path, "", 1), asked)


@given(st.text())
def test_garbage(text: str) -> None:
    """Whatever postmulti prints, each instance has a directory, and its name can be shown."""
    for name, directory in parse_instances(text):
        assert name.isprintable()
        assert directory.startswith("/")
