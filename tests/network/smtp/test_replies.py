"""Replies are read as smtp(8) reads them."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from postfix_mta_sts.network.smtp.failures import ConversationError
from postfix_mta_sts.network.smtp.replies import (
    MAX_LINE,
    MAX_REPLY,
    Reply,
    ReplyReader,
    greeted_as,
    offers_starttls,
)
from postfix_mta_sts.network.smtp.values import FailureKind


def reader(*pieces: bytes) -> ReplyReader:
    """A reader of a connection that ends after some pieces."""
    left = iter(pieces)

    async def read() -> bytes:
        return next(left, b"")

    return ReplyReader(read)


async def read(data: bytes) -> Reply:
    """The first reply in some bytes."""
    return await reader(data).reply()


@pytest.mark.parametrize(
    ("data", "code", "text", "status"),
    [
        (b"220 mx.test ESMTP\r\n", 220, "220 mx.test ESMTP", ""),
        (b"220 mx.test ESMTP\n", 220, "220 mx.test ESMTP", ""),
        (b"250\r\n", 250, "250", ""),
        (b"554 5.7.1 no\r\n", 554, "554 5.7.1 no", "5.7.1"),
        (b"554   5.7.1\tno\r\n", 554, "554   5.7.1?no", "5.7.1"),
        (b"554 5.7.1\r\n", 554, "554 5.7.1", "5.7.1"),
        (b"554 4.7.1 other class\r\n", 554, "554 4.7.1 other class", ""),
        (b"354 3.0.0 no class\r\n", 354, "354 3.0.0 no class", ""),
        (b"554 5.7.1234 no\r\n", 554, "554 5.7.1234 no", ""),
        (b"554 5.7.1, no\r\n", 554, "554 5.7.1, no", ""),
        (b"554-5.7.1 a\r\n554 5.7.2 b\r\n", 554, "554-5.7.1 a 554 5.7.2 b", "5.7.2"),
        (b"250-a\r\n421 4.3.2 b\r\n", 421, "250-a 421 4.3.2 b", "4.3.2"),
        (b"hello\r\n220 mx\r\n", 220, "hello 220 mx", ""),
        (b"2200 mx\r\n220?\r\n220 mx\r\n", 220, "2200 mx 220? 220 mx", ""),
        (b"220 \x1b[31mb\xfccher\0\r\n", 220, "220 ?[31mb\\xfccher?", ""),
    ],
)
async def test_replies(data: bytes, code: int, text: str, status: str) -> None:
    """The last line has code and status; the text has all lines, as Postfix writes them."""
    value = (await read(data)).value
    assert (value.code, value.text, value.status) == (code, text, status)


@given(
    st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"")), max_size=5),
    st.data(),
)
async def test_any_split(lines: list[bytes], data: st.DataObject) -> None:
    """How a reply is split into packets does not matter; any bytes become printable text."""
    stream = b"".join(line + b"\r\n" for line in lines) + b"250 end\r\n"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=4)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True) if a < b]
    whole, split = await read(stream), await reader(*pieces).reply()
    assert whole == split
    assert whole.value.text.isascii()
    assert whole.value.text.isprintable()


async def test_replies_in_one_packet() -> None:
    """Bytes behind a reply belong to the next one, unless they are discarded."""
    replies = reader(b"250 a\r\n250 b\r\n250 c\r\n", b"250 d\r\n")
    assert (await replies.reply()).value.text == "250 a"
    assert (await replies.reply()).value.text == "250 b"
    replies.discard()
    assert (await replies.reply()).value.text == "250 d"


@pytest.mark.parametrize(
    ("data", "kind", "reason"),
    [
        (b"", FailureKind.CLOSED, "lost connection"),
        (b"220 half a li", FailureKind.CLOSED, "lost connection"),
        (b"220-half a reply\r\n", FailureKind.CLOSED, "lost connection"),
        (b"SSH-2.0-x\r\n", FailureKind.CLOSED, "lost connection after 'SSH-2.0-x'"),
        (b"2" * 4_200, FailureKind.NO_SMTP, "a line of more than 4096 bytes"),
        (b"250-" + b"x" * 4_200, FailureKind.NO_SMTP, "a line of more than 4096 bytes"),
        (b"250-x\r\n" * 160_000, FailureKind.NO_SMTP, "a reply of more than 1048576 bytes"),
        (b"x\r\n" * 360_000, FailureKind.NO_SMTP, "a reply of more than 1048576 bytes"),
    ],
)
async def test_no_reply(data: bytes, kind: FailureKind, reason: str) -> None:
    """A connection that ends too early, a line and a reply without end are failures."""
    with pytest.raises(ConversationError) as caught:
        await read(data)
    assert (caught.value.kind, caught.value.reason) == (kind, reason)


async def test_long_lines() -> None:
    """A line is cut where Postfix cuts it, and its code counts."""
    value = (await read(b"250 " + b"x" * 3_000 + b"\r\n")).value
    assert value.code == 250
    assert len(value.text) == MAX_LINE


async def test_long_replies() -> None:
    """Lines after the limit of Postfix are not used, except for the last one's code and status."""
    lines = b"550-" + b"x" * 1_000 + b"\r\n"
    assert 10 * len(lines) < MAX_REPLY
    value = (await read(lines * 10 + b"550 5.7.1 end\r\n")).value
    assert (value.code, value.status) == (550, "5.7.1")
    assert len(value.text) == 3 * 1_004 + 2


@given(st.binary(max_size=100))
@example(b"250-mx.test\r\n250-SIZE 1\r\n250 STARTTLS\r\n")
async def test_ehlo_of_any_bytes(data: bytes) -> None:
    """Any reply to EHLO can be read."""
    reply = await read(data.replace(b"\n250 ", b"") + b"\n250 end\r\n")
    assert offers_starttls(reply) in {True, False}
    assert (greeted_as(reply) or "").isascii()


@pytest.mark.parametrize(
    ("data", "name", "offer"),
    [
        (b"250-mx.test hello\r\n250 STARTTLS\r\n", "mx.test", True),
        (b"250-mx.test\r\n250-starttls\r\n250 SIZE\r\n", "mx.test", True),
        (b"250-mx.test\r\n250 STARTTLS=1\r\n", "mx.test", True),
        (b"250-mx.test\r\n250 STARTTLS x\r\n", "mx.test", True),
        (b"250-mx.test\r\n250 XSTARTTLS\r\n", "mx.test", False),
        (b"250-mx.test\r\n250 XXXXXXXA\r\n", "mx.test", False),
        (b"250-mx.test\r\n250 AUTH STARTTLS\r\n", "mx.test", False),
        (b"250-STARTTLS\r\n250 SIZE\r\n", "STARTTLS", False),
        (b"250-\r\n250-mx.test\r\n250 STARTTLS\r\n", "mx.test", True),
        (b"250 mx.test\r\n", "mx.test", False),
        (b"250\r\n", None, False),
    ],
)
async def test_ehlo(data: bytes, name: str | None, *, offer: bool) -> None:
    """The first line names the server; STARTTLS is the first word of a later one, in any case."""
    reply = await read(data)
    assert greeted_as(reply) == name
    assert offers_starttls(reply) is offer
