"""Names in DNS messages, compared with dnspython."""

import dns.exception
import dns.name
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from postfix_mta_sts.network.dns_message import Question, RecordType
from postfix_mta_sts.network.dns_name import (
    MalformedError,
    NameTooLongError,
    decode_name,
    encode_name,
    parents,
)

LABELS = st.lists(st.binary(min_size=1, max_size=63), max_size=6).filter(
    lambda labels: sum(len(label) + 1 for label in labels) < 255
)
PIECES = st.one_of(
    st.sampled_from([b"\0", b"\1a", b"\2B.", b"\3c\\d", b"\x40", b"\xc0", b"\xc0\2", b"\x3f"]),
    st.integers(0, 40).map(lambda at: bytes((0xC0, at))),
    st.binary(max_size=3),
)
WIRES = st.lists(PIECES, max_size=20).map(b"".join)


@given(LABELS)
def test_back_and_forth(labels: list[bytes]) -> None:
    """A name is decoded as printable text, in lower case, and encoded as it was."""
    wire = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    text, end = decode_name(wire, 0)
    assert end == len(wire)
    assert text.isascii()
    assert text.isprintable()
    assert encode_name(text) == wire.lower()


@given(WIRES, st.integers(0, 10))
@example(b"\3abc\xc0\0", 0)
@example(b"\0\xc0\0", 1)
@example(b"\1a\0\1b\xc0\0\1c\xc0\3", 7)
@example(b"\xc0\3\0\0\xc0\1\0\0", 4)
@example(b"\1a\1b\0\xc0\0", 5)
@example(b"\2a\xc0\0", 3)
@example(b"\1a\xc0\0", 3)
def test_as_dnspython(wire: bytes, at: int) -> None:
    """Any bytes are decoded as dnspython decodes them, or refused as dnspython refuses them."""
    try:
        name, size = dns.name.from_wire(wire, at)
    except (dns.exception.DNSException, IndexError):
        with pytest.raises((MalformedError, IndexError)):
            decode_name(wire, at)
        return
    text, end = decode_name(wire, at)
    assert end == at + size
    assert encode_name(text) == name.canonicalize().to_wire()


def test_many_pointers() -> None:
    """A message full of pointers to pointers is decoded in as many steps as it has octets."""
    wire = b"\0\0" + b"".join(n.to_bytes(2) for n in range(0xC000, 0xC000 + 16382, 2))
    assert decode_name(wire, len(wire) - 2) == (".", len(wire))


@pytest.mark.parametrize(
    "name", ["a" * 64 + ".test", ".".join(["a" * 62] * 4) + ".abc", "a..b", ".a"]
)
def test_too_long(name: str) -> None:
    """Names too long for a message are refused."""
    with pytest.raises(NameTooLongError):
        Question(name, RecordType.A, 1)


def test_longest() -> None:
    """A name may have 255 octets, with the lengths of labels and the root."""
    name = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])
    assert len(encode_name(name)) == 255
    assert decode_name(encode_name(name), 0) == (name, 255)


@pytest.mark.parametrize(
    ("name", "zones"), [("a.b.test", ["a.b.test", "b.test", "test", "."]), (".", ["."])]
)
def test_parents(name: str, zones: list[str]) -> None:
    """The zones that a name can be in, the closest first."""
    assert parents(name) == zones
