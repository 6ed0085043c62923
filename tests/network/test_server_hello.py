"""The first message of a TLS server is held back until it is examined."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.network.server_hello import ServerHello, ServerHelloError
from tests.support.hostile_host import (
    FFDHE8192,
    HELLO_REQUEST,
    WARNING,
    X25519,
    records,
    retry_request,
)

GOOD = records(retry_request(X25519))
COSTLY = records(retry_request(FFDHE8192))


@given(st.lists(st.integers(1, 60), max_size=20))
def test_pieces(sizes: list[int]) -> None:
    """However the bytes arrive, OpenSSL gets them all, in order, and the end only when allowed."""
    hello, passed, sent = ServerHello(), b"", WARNING + GOOD + b"more"
    rest = sent
    for size in [*sizes, len(sent)]:
        piece, rest = rest[:size], rest[size:]
        passed += hello.pass_on(piece)
        assert hello.is_allowed == (len(sent) - len(rest) >= len(WARNING + GOOD))
    assert passed == sent


def test_fragments() -> None:
    """Of a message in several records, only the last one is held back."""
    hello, whole = ServerHello(), records(retry_request(X25519), 30)
    assert hello.pass_on(whole[:40]) == whole[:35]
    assert not hello.is_allowed
    assert hello.pass_on(whole[40:]) == whole[35:]
    assert hello.is_allowed


@pytest.mark.parametrize("group", [0x100, FFDHE8192, 0x1FF])
def test_finite_fields(group: int) -> None:
    """Each code point of a finite field group is refused."""
    with pytest.raises(ServerHelloError, match="finite field"):
        ServerHello().pass_on(records(retry_request(group)))


def test_without_key_share() -> None:
    """A ServerHello of TLS 1.2 has no key share; another may have no extensions at all."""
    session_id = b"\x20" + b"s" * 32
    for rest in (b"", b"\x00\x05\xff\x01\x00\x01\x00"):
        body = b"\x03\x03" + b"r" * 32 + session_id + b"\xc0\x2b\x00" + rest
        hello = ServerHello()
        hello.pass_on(records(b"\x02" + len(body).to_bytes(3, "big") + body))
        assert hello.is_allowed


@pytest.mark.parametrize(
    "data",
    [b"H", b"\x14", b"\x17", HELLO_REQUEST, b"\x16\x03\x03\x00\x01\x0b", WARNING + b"\x14"],
    ids=["HTTP", "cipher change", "data", "hello request", "certificate", "after a warning"],
)
def test_refused(data: bytes) -> None:
    """Anything but alerts and a ServerHello is refused by its first bytes."""
    with pytest.raises(ServerHelloError):
        ServerHello().pass_on(data + COSTLY)


def test_too_long() -> None:
    """A message that announces to be long is refused at once."""
    with pytest.raises(ServerHelloError, match="no ServerHello"):
        ServerHello().pass_on(b"\x16\x03\x03\x00\x04\x02\x00\x20\x00")


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    """No bytes cause any other error."""
    for sent in (data, records(b"\x02" + len(data).to_bytes(3, "big") + data)):
        with suppress(ServerHelloError):
            ServerHello().pass_on(sent)
