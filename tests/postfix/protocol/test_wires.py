"""Both protocols: bytes → requests → bytes, however the bytes are split (Q1)."""

from collections.abc import Iterator
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.postfix.protocol import socketmap, tcp_table
from postfix_mta_sts.postfix.protocol.reply import NOT_FOUND, Found, Reply, TryAgain
from postfix_mta_sts.postfix.protocol.wire import Frames, Wire, WireError

WIRES: list[Wire] = [socketmap, tcp_table]
EXAMPLES = {socketmap: b"17:postfix good.test,", tcp_table: b"get good.test\n"}


def frames_of(wire: Wire, *chunks: bytes) -> list[bytes]:
    """Return the frames found in these reads."""
    frames = Frames(wire)
    return [frame for chunk in chunks for frame in fed(frames, chunk)]


def fed(frames: Frames, chunk: bytes) -> Iterator[bytes]:
    """Feed a read, and yield the frames that are complete then."""
    frames.feed(chunk)
    while frame := frames.take():
        yield frame


@pytest.fixture(params=WIRES, ids=["socketmap", "tcp_table"])
def wire(request: pytest.FixtureRequest) -> Wire:
    """Each protocol in turn."""
    found: Wire = request.param
    return found


@pytest.fixture
def example(wire: Wire) -> bytes:
    """A request for good.test, framed."""
    return next(frame for module, frame in EXAMPLES.items() if module is wire)


def test_request(wire: Wire, example: bytes) -> None:
    """A request contains its key."""
    assert frames_of(wire, example) == [example]
    assert wire.parse_request(example).key == b"good.test"


def test_map_names() -> None:
    """A socketmap request names its map; a tcp_table request does not."""
    assert socketmap.parse_request(b"8:QUERY  a,").map_name == "QUERY"
    assert socketmap.parse_request(b"8:QUERY  a,").key == b" a"
    assert tcp_table.parse_request(b"get a\n").map_name == ""


def test_encoded_keys() -> None:
    """A tcp_table key is %XX-decoded; a malformed escape is left unchanged."""
    assert tcp_table.parse_request(b"get b%C3%BC%20c%zz\n").key == b"b\xc3\xbc c%zz"


@given(cuts=st.lists(st.integers(0, 100), max_size=6), number=st.integers(1, 4))
def test_any_split(cuts: list[int], number: int) -> None:
    """Requests are complete and in order, however the stream is split into reads."""
    for wire in WIRES:
        stream = b"".join(_request(wire, b"d%d.test" % n) for n in range(number))
        ends = sorted(min(cut, len(stream)) for cut in cuts)
        chunks = [stream[i:j] for i, j in zip([0, *ends], [*ends, len(stream)], strict=True)]
        keys = [wire.parse_request(frame).key for frame in frames_of(wire, *chunks)]
        assert keys == [b"d%d.test" % n for n in range(number)]


@given(st.lists(st.binary(max_size=60)))
def test_any_bytes(chunks: list[bytes]) -> None:
    """Any bytes are requests or a `WireError`, and at most one request is buffered."""
    for wire in WIRES:
        frames = Frames(wire)
        try:
            for chunk in chunks:
                for frame in fed(frames, chunk):
                    wire.parse_request(frame)
        except WireError as error:
            assert str(error).isprintable()


def test_partial(wire: Wire, example: bytes) -> None:
    """An incomplete request is recognized as incomplete."""
    frames = Frames(wire)
    seen = [frames.partial]
    for chunk in (example[:-1], example[-1:]):
        list(fed(frames, chunk))
        seen.append(frames.partial)
    assert seen == [False, True, False]


@pytest.mark.parametrize(
    "stream",
    [
        b"GET / HTTP/1.1\r\n",
        b":,",
        b"-1:,",
        b"+1:a,",
        b" 1:a,",
        b"01:a,",
        b"00:,",
        b"1_0:aaaaaaaaaa,",
        b"1:ab",
        b"17:postfix good.test;",
        b"10001:",
        b"99999:",
        b"100000",
        b"1234567",
        b"\xd9\xa1:a,",
        b"x",
    ],
)
def test_what_is_not_a_netstring(stream: bytes) -> None:
    """Anything but a netstring of at most 10,000 bytes is refused at once (netstring smuggling)."""
    with pytest.raises(WireError):
        frames_of(socketmap, stream)


def test_longest_request() -> None:
    """A request of exactly 10,000 bytes is accepted."""
    longest = _netstring(b"postfix " + b"a" * 9_992)
    assert frames_of(socketmap, *(bytes([c]) for c in longest)) == [longest]


def test_a_netstring_within_a_netstring_is_text() -> None:
    """What looks like a second request inside the first one's key is part of the key."""
    frame = _netstring(b"postfix a,17:postfix good.test")
    assert frames_of(socketmap, frame) == [frame]
    assert socketmap.parse_request(frame).key == b"a,17:postfix good.test"


@pytest.mark.parametrize("frame", [b"0:,", b"7:postfix,"])
def test_a_request_without_a_map_name(frame: bytes) -> None:
    """A netstring without a map name is refused."""
    with pytest.raises(WireError):
        socketmap.parse_request(frame)


@pytest.mark.parametrize("frame", [b"put a b\n", b"get\n", b"\n", b"GET a\n"])
def test_what_is_not_a_get_request(frame: bytes) -> None:
    """Only `get` is accepted."""
    with pytest.raises(WireError):
        tcp_table.parse_request(frame)


@pytest.mark.parametrize("stream", [b"get " + b"a" * 4092, b"get " + b"a" * 4092 + b"\n"])
def test_long_lines(stream: bytes) -> None:
    """A line of more than 4,096 bytes is refused, ended or not."""
    with pytest.raises(WireError):
        frames_of(tcp_table, stream)
    assert len(frames_of(tcp_table, b"get " + b"a" * 4091 + b"\n")) == 1


@pytest.mark.parametrize(
    ("reply", "on_socketmap", "on_tcp_table"),
    [
        (NOT_FOUND, b"9:NOTFOUND ,", b"500 not%20found\n"),
        (Found(("secure match=a",)), b"17:OK secure match=a,", b"200 secure%20match=a\n"),
        (TryAgain("no DNS"), b"11:TEMP no DNS,", b"400 no%20DNS\n"),
        (
            Found(("{ policy_string = x: 100% \u00fc }",)),
            "33:OK { policy_string = x: 100% \u00fc },".encode(),
            b"200 {%20policy_string%20=%20x:%20100%25%20%C3%BC%20}\n",
        ),
    ],
)
def test_replies(reply: Reply, on_socketmap: bytes, on_tcp_table: bytes) -> None:
    """A reply is a status, a space, and the text in the encoding of the protocol."""
    assert socketmap.encode_reply(reply) == on_socketmap
    assert tcp_table.encode_reply(reply) == on_tcp_table


@pytest.mark.parametrize(("wire", "limit"), [(socketmap, 100_000), (tcp_table, 4_096)])
def test_the_first_variant_that_fits(wire: Wire, limit: int) -> None:
    """The first variant within the limit is sent; if none fits, the reply is "try again" (X6)."""
    too_long = "a" * limit
    for short in ("b", "b" * (limit // 2)):
        sent = wire.encode_reply(Found((too_long, short)))
        assert sent == wire.encode_reply(Found((short,)))
        assert len(sent) <= limit + len("100000:,")
    assert b"too" in wire.encode_reply(Found((too_long,)))
    assert wire.encode_reply(Found((too_long,)))[:12] != wire.encode_reply(NOT_FOUND)[:12]


def test_a_variant_that_cannot_fit_is_not_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """To encode 400 KiB takes 50 ms, in which nobody else is answered."""
    encode = Mock(return_value="short")
    monkeypatch.setattr(tcp_table, "quote_from_bytes", encode)
    assert tcp_table.encode_reply(Found(("a" * 400_000, "short"))) == b"200 short\n"
    encode.assert_called_once()


@given(st.text(max_size=200))
def test_a_reply_is_one_frame(text: str) -> None:
    """Any text is encoded as exactly one netstring or one line."""
    reply = Found((text.encode("utf-8", "replace").decode(),))
    net = socketmap.encode_reply(reply)
    length, _, rest = net.partition(b":")
    assert len(rest) == int(length) + 1
    line = tcp_table.encode_reply(reply)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")


def _netstring(data: bytes) -> bytes:
    return b"%d:%b," % (len(data), data)


def _request(wire: Wire, key: bytes) -> bytes:
    return _netstring(b"postfix " + key) if wire is socketmap else b"get " + key + b"\n"
