"""A main.cf in a file: comments, lines that continue others, and references between parameters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.postfix.installed import main_cf_file
from postfix_mta_sts.postfix.installed.main_cf_file import (
    DEPTH_LIMIT,
    TOTAL_LIMIT,
    VALUE_LIMIT,
    MainCfFile,
    logical_lines,
    parse_main_cf,
)
from postfix_mta_sts.postfix.smtp_client.values import MainCf


def test_a_file() -> None:
    """Space around names and values does not count; the last of two lines wins."""
    text = "# a\n\na=1\n b c \n  # comment\n\n\td\nempty =\nx = 1\nx   =  2  \n"
    assert parse_main_cf(text) == MainCfFile({"a": "1 b c d", "empty": "", "x": "2"})


def test_the_output_of_postconf() -> None:
    """What postconf(1) prints is such a file."""
    text = "mail_version = 3.10.13\nsmtp_tls_policy_maps = socketmap:inet:127.0.0.1:8461:postfix\n"
    assert parse_main_cf(text).parameters == {
        "mail_version": "3.10.13",
        "smtp_tls_policy_maps": "socketmap:inet:127.0.0.1:8461:postfix",
    }


def test_line_ends() -> None:
    """A file from another system has no ends of lines in its values."""
    assert parse_main_cf("a = 1\r\nb = 2 \r 3\r\n").parameters == {"a": "1", "b": "2   3"}


def test_line_numbers() -> None:
    """A logical line has the number of its first line."""
    assert list(logical_lines("\n# a\nb = 1\n  2\n\nc = 3")) == [(3, "b = 1 2"), (6, "c = 3")]


@pytest.mark.parametrize("space", [" ", "\t", "\v", "\f", "\r"])
def test_a_file_that_begins_with_space(space: str) -> None:
    """Postfix leaves out a logical line that begins so, with the lines that continue it."""
    text = f"# comment\n\n{space} a = 1\n  2\n# comment\n 3\nb = 2\n 3\n"
    assert list(logical_lines(text)) == [(7, "b = 2 3")]
    assert list(logical_lines(f"{space}a = 1")) == []
    assert parse_main_cf(f"{space}a = 1\n") == MainCfFile()


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("$x", "one"),
        ("${x}$(x) $x.", "oneone one."),
        ("a$$x", "a$x"),
        ("5$", "5$"),
        ("$ x", "$ x"),
        ("$y", "-one-"),
        ("$config_directory/ca.pem", "/etc/postfix/ca.pem"),
        ("inline:{ {a.test = may} }", "inline:{ {a.test = may} }"),
    ],
)
def test_references(value: str, meant: str) -> None:
    """A reference stands for the value of the other parameter, wherever that is in the file."""
    seen = parse_main_cf(f"a = {value}\nx = one\ny = -$x-\n")
    assert seen.parameters["a"] == meant
    assert not seen.unseen


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("$other", "$other is not in the file"),
        ("socketmap:${other}:m", "$other is not in the file"),
        ("${x?yes}", "it has a condition"),
        ("${x:no}", "it has a condition"),
        ("${{$x} == {1} ? {a} : {b}}", "it has a condition"),
        ("$a", "$a leads back to itself, or too far"),
        ("$b", "$a leads back to itself, or too far"),
        ("$c", "it has a condition"),
    ],
)
def test_not_known(value: str, reason: str) -> None:
    """What depends on more than the file is left as it is, and named with the reason."""
    seen = parse_main_cf(f"a = {value}\nb = $a\nc = ${{x?y}}\nx = 1\n")
    assert seen.parameters["a"] == value
    assert seen.unseen["a"] == reason
    assert seen.parameters["x"] == "1"


def test_a_long_chain() -> None:
    """A chain of references has an end."""
    names = range(DEPTH_LIMIT + 1)
    text = "".join(f"a{each} = $a{each + 1}\n" for each in names) + f"a{len(names)} = end\n"
    seen = parse_main_cf(text)
    assert [*seen.unseen] == ["a0", "a1"]
    assert seen.parameters["a2"] == "end"


def test_values_that_double() -> None:
    """Thirty lines that would become gigabytes do not."""
    text = "a0 = 0123456789\n" + "".join(f"a{n} = $a{n - 1}$a{n - 1}\n" for n in range(1, 30))
    seen = parse_main_cf(text)
    assert "characters" in seen.unseen["a29"]
    assert max(map(len, seen.parameters.values())) <= VALUE_LIMIT


def test_many_long_values() -> None:
    """Neither do ten thousand lines that each have a long value in them."""
    text = f"a = {'x' * 60_000}\n" + "".join(f"b{n} = $a\n" for n in range(10_000))
    seen = parse_main_cf(text)
    assert "together" in seen.unseen["b9999"]
    assert sum(map(len, seen.parameters.values())) < TOTAL_LIMIT + 100_000


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a = 1\nnonsense\nb c = 2\n", "line 2: not of the form name = value: nonsense"),
        ("\n= 1\n", "line 2: not of the form name = value: = 1"),
        ("b c = 2\x07\n", r"line 1: not of the form name = value: b c = 2\x07"),
    ],
)
def test_a_line_that_postfix_refuses(text: str, problem: str) -> None:
    """The first one is named; the other lines are read."""
    seen = parse_main_cf(text)
    assert seen.problem == problem
    assert seen.parameters == ({"a": "1"} if "a = 1" in text else {})


NOISE = st.text("ab$(){}?:= \t\r\n#_9\x0b\x85\u2028", max_size=120)


@given(NOISE | st.text(max_size=80))
def test_any_text(text: str) -> None:
    """It raises nothing, and no value has an end of a line."""
    seen = parse_main_cf(text)
    assert not any(set(each) & {"\n", "\r"} for each in seen.parameters.values())
    assert f"{seen.problem}{''.join([*seen.unseen, *seen.unseen.values()])}".isprintable()
    assert len(seen.unseen) <= len(seen.parameters)


WORDS = st.text("abc.:/ ", max_size=12).map(str.strip)


@given(st.dictionaries(st.sampled_from("abcdef"), WORDS))
def test_what_was_written(parameters: dict[str, str]) -> None:
    """Values without references come back as they are."""
    text = "".join(f"{name} = {value}\n" for name, value in parameters.items())
    assert parse_main_cf(text) == MainCfFile(parameters)


def test_the_defaults_are_those_of_the_model() -> None:
    """The queue directory is the same for all that read the file."""
    assert main_cf_file._DEFAULTS["queue_directory"] == MainCf().queue_directory
