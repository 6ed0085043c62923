"""The `-o` options of a service in master.cf: those that smtp(8) takes, and those that end it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.postfix.installed.daemon_options import (
    corrected,
    options_of,
    refused,
    written_commands,
)

LEVEL = "smtp_tls_security_level"


def test_written_commands() -> None:
    """Each has its service; lines of other types, and those without a command, are left out."""
    text = """\
# comment
smtp inet n - y - - smtpd
smtp unix - - y - - smtp -osyslog_name=x
  -o { a = b }
short unix - - y - -
"""
    assert written_commands(text) == {"smtp/unix": "smtp -osyslog_name=x -o { a = b }"}


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("smtp", []),
        ("smtp -v -o a=b -oc=d -o { e = f }", ["a=b", "c=d", "e = f"]),
        ("smtp -vo a=b -v", ["a=b"]),
        ("smtp -voa=b", ["a=b"]),
        ("smtp -o a = b -o c=d", ["a"]),
        ("smtp -o a=b word -o c=d", ["a=b"]),
        ("smtp -o a=b -- -o c=d", ["a=b"]),
        ("smtp -t 5 -noo -o a=b", ["a=b"]),
        ("smtp -o a=b -o", ["a=b"]),
    ],
)
def test_options(command: str, options: list[str]) -> None:
    """They end with the first word that is none."""
    words = command.replace("{ e = f }", "{_e_=_f_}").split()
    words = [each.replace("_", " ") if each.startswith("{") else each for each in words]
    assert list(options_of(words)) == options


@pytest.mark.parametrize(
    ("command", "texts", "right"),
    [
        (f"smtp -o {LEVEL}=may -v", (), f"smtp -o {LEVEL}=may -v"),
        ("smtp -osyslog_name=postfix/out", (), "smtp -osyslog_name=postfix/out"),
        ("smtp -o a=b word -o c = d", (), "smtp -o a=b word -o c = d"),
        (f"smtp -o {LEVEL} = may", (LEVEL,), f"smtp -o {LEVEL}=may"),
        (
            f"smtp -v -o a=b -o {LEVEL} =may -o c=d",
            (LEVEL,),
            f"smtp -v -o a=b -o {LEVEL}=may -o c=d",
        ),
        (f"smtp -vo {LEVEL} = may", (LEVEL,), f"smtp -v -o {LEVEL}=may"),
        (f"smtp -o {LEVEL} =", (LEVEL,), f"smtp -o {LEVEL}="),
        (f"smtp -o {LEVEL} -o c=d", (LEVEL,), "smtp -o c=d"),
        (f"smtp -o {{ {LEVEL} may }} -v", (f"{LEVEL} may",), "smtp -v"),
        ("smtp -o =x", ("=x",), "smtp"),
        ("smtp -o a = b, c", ("a",), "smtp -o { a = b, c }"),
        ("smtp -o a = inline:{ {x.test=may} }", ("a",), "smtp -o a=inline:{ {x.test=may} }"),
        ("smtp -o a = b -o c = d", ("a",), "smtp -o a=b -o c=d"),
    ],
)
def test_refused(command: str, texts: tuple[str, ...], right: str) -> None:
    """An option with spaces around `=` is written as it was meant; one without a value goes."""
    assert refused(command) == texts
    assert corrected(command) == right
    assert refused(right) == ()


@given(st.text("ab -o={}$\n\tvi", max_size=60).map("smtp {}".format))
def test_any_command(command: str) -> None:
    """What is corrected is right."""
    assert refused(corrected(command)) == ()
