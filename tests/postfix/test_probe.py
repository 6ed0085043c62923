"""A look-up as Postfix sends it: replies are decoded, and anything else is an error."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.config.address import TcpAddress, UnixAddress
from postfix_mta_sts.postfix.probe import Place, ProbeError, ask, first_accessible, place_of
from tests.support.daemons import TIMEOUT, daemon
from tests.support.internet import SOCKETMAP, TCP_TABLE_TLSRPT, internet
from tests.support.tasks import Tasks

Wire = Literal["socketmap", "tcp_table"]
SOON = 0.05


@asynccontextmanager
async def replying(wire: Wire, reply: bytes, *, closes: bool = True) -> AsyncIterator[Place]:
    """A listener that sends these bytes to any request; `closes`: then closes the connection."""
    tasks = Tasks()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read(1)
            writer.write(reply)
            if not closes:
                await asyncio.Event().wait()
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.start(answer(reader, writer), "answer")

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        yield place_of(wire, server.sockets[0])
        await tasks.stop()


async def ask_for(wire: Wire, reply: bytes) -> str | None:
    """The result of `ask` if these bytes are the reply."""
    async with replying(wire, reply) as place:
        return await ask(place, timeout=TIMEOUT)


async def error_for(wire: Wire, reply: bytes) -> str:
    """The reason of the error that `ask` raises if these bytes are the reply."""
    with pytest.raises(ProbeError) as caught:
        await ask_for(wire, reply)
    return str(caught.value)


class TestDaemon:
    """Look-ups at a running daemon."""

    @pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])
    async def test_each_protocol(self, tmp_path: Path) -> None:
        """A domain with a policy and one without, over socketmap and tcp_table."""
        async with internet(tmp_path) as net, daemon(net, tmp_path):
            net.publish("good.test")
            socketmap = Place("socketmap", UnixAddress(tmp_path / SOCKETMAP))
            tcp_table = Place("tcp_table", UnixAddress(tmp_path / TCP_TABLE_TLSRPT))
            secure = "secure match=mx1.good.test servername=hostname"
            assert await ask(socketmap, "good.test", timeout=TIMEOUT) == secure
            with_tlsrpt = await ask(tcp_table, "good.test", timeout=TIMEOUT)
            assert with_tlsrpt is not None
            assert with_tlsrpt.startswith(f"{secure} policy_type=sts policy_domain=good.test ")
            for place in (socketmap, tcp_table):
                assert await ask(place, "other.test", timeout=TIMEOUT) is None

    async def test_the_default_key_needs_no_network(self, tmp_path: Path) -> None:
        """It causes no DNS query, so it is answered while no name server answers."""
        async with internet(tmp_path) as net, daemon(net, tmp_path):
            net.vanish()
            for place in (
                Place("socketmap", UnixAddress(tmp_path / SOCKETMAP)),
                Place("tcp_table", UnixAddress(tmp_path / TCP_TABLE_TLSRPT)),
            ):
                assert await ask(place, timeout=TIMEOUT) is None
            assert net.dns.queries.total == 0


class TestReplies:
    """Valid and invalid replies."""

    @pytest.mark.parametrize(
        ("wire", "reply", "text"),
        [
            ("socketmap", b"19:OK secure match=a.b,", "secure match=a.b"),
            ("socketmap", b"9:NOTFOUND ,", None),
            ("socketmap", b"8:OK \x1b[2J\xff,", "?[2J?"),
            ("tcp_table", b"200 secure%20match=a.b\n", "secure match=a.b"),
            ("tcp_table", b"200 secure match=a.b\n", "secure match=a.b"),
            ("tcp_table", b"500 not%20found\n", None),
        ],
    )
    async def test_valid(self, wire: Wire, reply: bytes, text: str | None) -> None:
        """The text of a reply comes as one printable line, "not found" as None."""
        assert await ask_for(wire, reply) == text

    @pytest.mark.parametrize(
        ("wire", "reply", "reason"),
        [
            ("socketmap", b"10:TEMP later,", "TEMP: later"),
            ("socketmap", b"8:PERM \x07no,", "PERM: ?no"),
            ("socketmap", b"8:NOTFOUND,", "not a reply of socketmap"),
            ("socketmap", b"2:OK,", "not a reply of socketmap"),
            ("socketmap", b"3:OK x", "not a reply of socketmap"),
            ("socketmap", b"03:OK ,", "not a reply of socketmap"),
            ("socketmap", b"999999:OK ", "not a reply of socketmap"),
            ("socketmap", b"HTTP/1.1 400: no", "not a reply of socketmap"),
            ("socketmap", b"x" * 100_000, "not a reply of socketmap"),
            ("socketmap", b"", "closed without a reply"),
            ("socketmap", b"10:TE", "closed in the middle of a reply"),
            ("tcp_table", b"400 try%0Aagain\n", "400: try?again"),
            ("tcp_table", b"600 what\n", "not a reply of tcp_table"),
            ("tcp_table", b"500 no", "closed in the middle of a reply"),
            ("tcp_table", b"x" * 100_000, "not a reply of tcp_table"),
        ],
    )
    async def test_errors(self, wire: Wire, reply: bytes, reason: str) -> None:
        """The reply "try again", and invalid replies, are errors with a printable reason."""
        assert await error_for(wire, reply) == reason

    async def test_no_reply(self) -> None:
        """If the rest of the reply does not come, `ask` raises an error at the deadline."""
        async with replying("socketmap", b"9:NOT", closes=False) as place:
            with pytest.raises(ProbeError, match=r"^no reply within 0\.05 s$"):
                await ask(place, timeout=SOON)


class TestPlaces:
    """Addresses at which a look-up can be sent."""

    def test_port_0(self) -> None:
        """Port 0 is refused: the kernel chooses another port each time."""
        with pytest.raises(
            ValueError,
            match=r"127\.0\.0\.1:0: port 0 stands for any free port, so it cannot be asked",
        ):
            Place("socketmap", TcpAddress("127.0.0.1", 0))

    @pytest.mark.parametrize(
        ("host", "family"), [("0.0.0.0", socket.AF_INET), ("::", socket.AF_INET6)]
    )
    async def test_all_addresses(self, host: str, family: socket.AddressFamily) -> None:
        """A listener on all addresses is reached on loopback."""
        asked_on_loopback = asyncio.Event()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b",")
            if writer.get_extra_info("peername")[0] in {"127.0.0.1", "::1"}:
                asked_on_loopback.set()
            writer.write(b"9:NOTFOUND ,")
            writer.close()

        server = await asyncio.start_server(answer, host, 0, family=family)
        async with server:
            place = place_of("socketmap", server.sockets[0])
            assert isinstance(place.address, TcpAddress)
            assert place.address.host == host
            assert await ask(place, timeout=TIMEOUT) is None
        assert asked_on_loopback.is_set()

    @pytest.mark.parametrize("make", [lambda p: p / "none", lambda p: p], ids=["none", "folder"])
    async def test_no_listener(self, tmp_path: Path, make: Callable[[Path], Path]) -> None:
        """The reason is the error text of the system."""
        with pytest.raises(ProbeError, match=r"No such file|Connection refused"):
            await ask(Place("socketmap", UnixAddress(make(tmp_path))), timeout=TIMEOUT)

    async def test_an_unknown_host(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The reason is that of the name look-up, whose error numbers are not the system's."""

        async def fail(*_: object, **__: object) -> None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", fail)
        with pytest.raises(ProbeError, match=r"^Name or service not known$"):
            await ask(Place("socketmap", TcpAddress("mail.good.test", 1)), timeout=TIMEOUT)

    def test_first_accessible(self, tmp_path: Path) -> None:
        """The first TCP address, or UNIX socket that exists and is writable, is used."""
        none = Place("socketmap", UnixAddress(tmp_path / "none"))
        tcp = Place("socketmap", TcpAddress("127.0.0.1", 1))
        (tmp_path / "there").touch()
        there = Place("tcp_table", UnixAddress(tmp_path / "there"))
        assert first_accessible([none, there, tcp]) is there
        assert first_accessible([none, tcp]) is tcp
        assert first_accessible([none]) is None

    def test_bound_to_a_file(self, tmp_path: Path) -> None:
        """The address of a UNIX socket is its file."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(tmp_path / "s"))
            assert place_of("tcp_table", sock) == Place("tcp_table", UnixAddress(tmp_path / "s"))


@given(st.binary(max_size=40), st.sampled_from(["socketmap", "tcp_table"]))
def test_any_bytes(reply: bytes, wire: Wire) -> None:
    """Any reply is decoded or an error, in printable ASCII."""

    async def run() -> str | None:
        return await ask_for(wire, reply)

    try:
        text = asyncio.run(run())
    except ProbeError as error:
        text = str(error)
    assert text is None or (text.isascii() and text.isprintable())
