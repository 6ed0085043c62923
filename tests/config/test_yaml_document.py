"""YAML values are what they look like, and know their lines; the rest of YAML is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.config.yaml_document import (
    MAX_DEPTH,
    DocumentError,
    Errors,
    Node,
    read,
    read_all,
)

EXPECTED = (
    "expected ',' or ']', but got '<stream end>' (column 1); "
    "write ] after the list that begins in line 1, column 4, and commas in it"
)
QUOTES = (
    " (column 5); check the indentation, and the colon of the line before; or write the value in"
    " quotes"
)


def refused(text: str) -> tuple[int, str]:
    """Return the line and the reason of the error."""
    with pytest.raises(DocumentError) as caught:
        read(text)
    return caught.value.line, str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("# nothing", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("False", False),
        ("0", 0),
        ("-12", -12),
        ("1.5", 1.5),
        (".5e2", 50.0),
        ("9" * 5000, "9" * 5000),
        ("0660", "0660"),
        ("0x10", "0x10"),
        ("22:22", "22:22"),
        ("1_000", "1_000"),
        ("yes", "yes"),
        ("off", "off"),
        ("2026-01-01", "2026-01-01"),
        (".nan", ".nan"),
        ("=", "="),
        ("'true'", "true"),
        ('"1"', "1"),
        ("a word", "a word"),
    ],
)
def test_scalars_are_what_they_look_like(text: str, value: object) -> None:
    """Everything except null, true, false and decimal numbers is text."""
    node = read(text)
    assert node == Node(value, 1)  # type: ignore[arg-type] # the type depends on the case
    assert type(node.value) is type(value)


def test_values_know_their_lines() -> None:
    """A value in a mapping has the line of its key, an item of a list its own line."""
    assert read("a:\n  - x\n  - {b: 1}\n<<: 2\n") == Node(
        {
            "a": Node((Node("x", 2), Node({"b": Node(1, 3)}, 3)), 1),
            "<<": Node(2, 4),
        },
        1,
    )


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("a: 1\nb: 2\na: 3", 3, "duplicate key 'a'; it is already set in line 1"),
        ("a: &x 1\nb: *x", 2, "aliases (*) and tags (!) are not supported; write the value itself"),
        ("&a [*a]", 1, "aliases (*) and tags (!) are not supported; write the value itself"),
        ("\na: !!int x", 2, "aliases (*) and tags (!) are not supported; write the value itself"),
        (
            "!!python/object:os.system {}",
            1,
            "aliases (*) and tags (!) are not supported; write the value itself",
        ),
        ("{!!str a: 1}", 1, "a key must be plain text"),
        ("{[a]: 1}", 1, "a key must be plain text"),
        ("a: 1\n---\nb: 1", 3, "a second document; the configuration is one document, without ---"),
        (
            "a: 1\nb: c: d",
            2,
            f"not YAML: mapping values are not allowed here{QUOTES}",
        ),
        ("a: 1\n\0", 2, "not YAML: character U+0000; remove it"),
        ('"\\UFFFFFFFF"', 1, r"not YAML: a \U escape that is not a character"),
        ("[" * 5000, 1, f"nested more than {MAX_DEPTH} levels deep"),
        (
            "a: [1\n",
            2,
            f"not YAML: while parsing a flow sequence: {EXPECTED}",
        ),
    ],
)
def test_refused(text: str, line: int, reason: str) -> None:
    """An error has the line and a reason of one line."""
    assert refused(text) == (line, reason)


def test_all_at_once() -> None:
    """What is refused takes nothing else with it, up to an error of syntax."""
    text = "a: {x: 1}\na: {x: 2, y: 3}\nb: *b\nc: [!t 1, 2]\n[d]: 4\ne: 5\ne: 6\nf: {'g\n---\nh: 1"
    errors = Errors()
    assert read_all(text.replace("{'g", "g"), errors) == Node(
        {
            "a": Node({"x": Node(1, 1), "y": Node(3, 2)}, 1),
            "c": Node((Node(2, 4),), 4),
            "e": Node(5, 6),
            "f": Node("g", 8),
        },
        1,
    )
    with pytest.raises(DocumentError) as caught:
        errors.check()
    assert [(e.line, str(e)[:14]) for e in (caught.value, *caught.value.more)] == [
        (2, "duplicate key "),
        (3, "aliases (*) an"),
        (4, "aliases (*) an"),
        (5, "a key must be "),
        (7, "duplicate key "),
        (10, "a second docum"),
    ]
    with pytest.raises(DocumentError) as caught:
        read(text)
    assert [e.line for e in (caught.value, *caught.value.more)] == [2, 3, 4, 5, 7, 9]
    assert "the text begins in line 8, column 5" in str(caught.value.more[-1])


@given(st.text(alphabet=st.sampled_from("ab01 \n\t:-[]{},&*!|>'\"%@`#?~.\\U\0\u2028")) | st.text())
def test_no_text_raises_anything_else(text: str) -> None:
    """Any text is parsed, or refused with a reason of one line."""
    try:
        read(text)
    except DocumentError as error:
        assert error.line >= 1
        assert "\n" not in str(error)
