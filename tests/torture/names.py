"""The name server of a run: a validating resolver that can fail in each way that matters."""

import asyncio
import enum
import socket
from typing import Self

import dns.flags
import dns.message
import dns.name
import dns.rrset

from tests.support.dns import DnsServer, Fault, Records
from tests.torture.world import World

RECEIVE_BUFFER = 1 << 22
LIE_PAUSE = 0.2
"""Seconds by which a liar's true answer is late."""


class Mode(enum.StrEnum):
    """What the name server does with every query."""

    GOOD = "good"
    DOWN = "dns-down"
    SILENT = "dns-silent"
    SERVFAIL = "dns-servfail"
    LYING = "dns-lying"


class NameServer(DnsServer):
    """Serves the domains of a world; `mode` changes what it does."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.mode = Mode.GOOD
        self._world = world

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        # The default holds some hundred queries: less than a burst of rechecks.
        sock: socket.socket = self._udp.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        return self

    async def set_mode(self, mode: Mode) -> None:
        """Behave like this from now on; the port is closed while it is down."""
        before, self.mode = self.mode, mode
        if mode is Mode.DOWN and before is not Mode.DOWN:
            await self.__aexit__()
        elif before is Mode.DOWN and mode is not Mode.DOWN:
            await self.__aenter__()

    def start_answering(self, wire: bytes, peer: tuple[str, int]) -> None:
        """Answer a datagram; most need no task."""
        if self.mode is Mode.LYING:
            self._tasks.start(self._lie(wire, peer), "test dns, lying")
        elif answer := self._answer_now(wire, tcp=False):
            self._udp.sendto(answer, peer)

    async def _answer(self, wire: bytes, *, tcp: bool) -> bytes | None:
        return self._answer_now(wire, tcp=tcp)

    def _answer_now(self, wire: bytes, *, tcp: bool) -> bytes | None:
        if self.mode is Mode.SILENT:
            return None
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        return self._response(query, name, _kind(question), tcp=tcp)

    async def _lie(self, wire: bytes, peer: tuple[str, int]) -> None:
        """Send two forged answers at once, and the true one late."""
        answer = self._answer_now(wire, tcp=False)
        if answer is None:
            return
        self._udp.sendto(bytes([answer[0] ^ 0xFF]) + answer[1:], peer)
        other = dns.message.make_query("other.test", "TXT")
        other.id = int.from_bytes(answer[:2])
        self._udp.sendto(dns.message.make_response(other).to_wire(), peer)
        await asyncio.sleep(LIE_PAUSE)
        if self.mode is not Mode.DOWN:
            self._udp.sendto(answer, peer)

    def _at(self, name: str, kind: str) -> Records | Fault:
        if self.mode is Mode.SERVFAIL:
            return Fault.SERVFAIL
        found = self._world.records(name, kind)
        return Fault.NXDOMAIN if found is None else found

    def _is_signed(self, name: str) -> bool:
        return self._world.is_signed(name)


def _kind(question: dns.rrset.RRset) -> str:
    return dns.rdatatype.to_text(question.rdtype)
