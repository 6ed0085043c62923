"""YAML is read as it looks, with its lines; anything else is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.config.yaml_document import MAX_DEPTH, DocumentError, Node, read


def refused(text: str) -> tuple[int, str]:
    """The line and the reason of the refusal."""
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
    """Only null, true, false and decimal numbers are more than text."""
    node = read(text)
    assert node == Node(value, 1)  # type: ignore[arg-type] # as each case has it
    assert type(node.value) is type(value)


def test_values_know_their_lines() -> None:
    """A value of a mapping has the line of its key, an item its own."""
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
        ("a: 1\nb: 2\na: 3", 3, "the key 'a' stands in line 1 too"),
        ("a: &x 1\nb: *x", 2, "an alias (*) or a tag (!): write the value itself"),
        ("&a [*a]", 1, "an alias (*) or a tag (!): write the value itself"),
        ("\na: !!int x", 2, "an alias (*) or a tag (!): write the value itself"),
        ("!!python/object:os.system {}", 1, "an alias (*) or a tag (!): write the value itself"),
        ("{!!str a: 1}", 1, "a key that is not a word"),
        ("{[a]: 1}", 1, "a key that is not a word"),
        ("a: 1\n---\nb: 1", 3, "a second document"),
        ("a: 1\nb: c: d", 2, "not YAML: mapping values are not allowed here"),
        ("a: 1\n\0", 2, "not YAML: character U+0000"),
        ('"\\UFFFFFFFF"', 1, r"not YAML: a \U escape that is no character"),
        ("[" * 5000, 1, f"more than {MAX_DEPTH} collections within each other"),
        (
            "a: [1\n",
            2,
            "not YAML: while parsing a flow sequence: expected ',' or ']', but got '<stream end>'",
        ),
    ],
)
def test_refused(text: str, line: int, reason: str) -> None:
    """What is not read is refused with its line and a reason in one line."""
    assert refused(text) == (line, reason)


@given(st.text(alphabet=st.sampled_from("ab01 \n\t:-[]{},&*!|>'\"%@`#?~.\\U\0\u2028")) | st.text())
def test_no_text_raises_anything_else(text: str) -> None:
    """Any text is read or refused, in one line."""
    try:
        read(text)
    except DocumentError as error:
        assert error.line >= 1
        assert "\n" not in str(error)
