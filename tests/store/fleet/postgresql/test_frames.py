"""Lengths of messages, in any split of reads."""

from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.store.fleet.postgresql.frames import Frames

MEBIBYTE = 1 << 20


def frame(kind: bytes, length: int, body: bytes = b"") -> bytes:
    """A message that claims a length."""
    return kind + length.to_bytes(4) + body


messages = st.lists(
    st.builds(
        lambda kind, body: frame(bytes([kind]), len(body) + 4, body),
        st.integers(0, 255),
        st.binary(max_size=50),
    )
)


def accepted(data: bytes, sizes: list[int]) -> bool:
    """Whether the data is accepted in pieces of these sizes, and what is left."""
    frames = Frames()
    for size in sizes:
        piece, data = data[:size], data[size:]
        if not frames.are_valid(piece):
            return False
    return frames.are_valid(data)


@given(messages, st.lists(st.integers(0, 20)))
def test_messages(parts: list[bytes], sizes: list[int]) -> None:
    """Messages are accepted however they arrive."""
    assert accepted(b"".join(parts), sizes)


@given(messages, st.integers(0, 3) | st.integers(2**23, 2**32 - 1), st.lists(st.integers(0, 20)))
def test_a_length_that_cannot_be(parts: list[bytes], length: int, sizes: list[int]) -> None:
    """One message that claims too little or too much is refused, however it arrives."""
    assert not accepted(b"".join(parts) + frame(b"D", length), sizes)


def test_an_answer_without_end() -> None:
    """Rows without end are refused; a server that becomes ready may send more."""
    row = frame(b"D", MEBIBYTE + 4, bytes(MEBIBYTE))
    frames = Frames()
    assert all(frames.are_valid(row) for _ in range(60))
    assert frames.are_valid(frame(b"Z", 5, b"I"))
    assert all(frames.are_valid(row) for _ in range(60))
    assert not all(frames.are_valid(row) for _ in range(10))
