"""Counts what programs in a namespace send: TCP connections that they begin, and UDP datagrams.

Everything passes the loopback interface, where a packet socket sees it, answered or not.
"""

import contextlib
import ipaddress
import select
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tests.e2e.namespace import Namespace

_OUTGOING: Final = socket.PACKET_OUTGOING  # loopback shows each packet twice
_SYN: Final = 0x02
_FLAGS: Final = 0x12
"""SYN and ACK of TCP's flags (RFC 9293 §3.1); with SYN alone a connection begins."""
_LONGEST: Final = 65_536


class Target(NamedTuple):
    """Where something was sent to."""

    protocol: int
    """`socket.IPPROTO_TCP`, of which only first packets count, or `socket.IPPROTO_UDP`."""
    address: str
    port: int


@dataclass(slots=True)
class Packets:
    """What was sent so far, in order."""

    sent: list[Target] = field(default_factory=list)

    def connections(self, port: int) -> list[str]:
        """Return the address of each TCP connection to a port."""
        return [e.address for e in self.sent if e[::2] == (socket.IPPROTO_TCP, port)]

    def datagrams(self, port: int) -> int:
        """Return the number of UDP datagrams to a port."""
        return sum(1 for each in self.sent if each[::2] == (socket.IPPROTO_UDP, port))


@contextlib.contextmanager
def packets(inside: Namespace) -> Iterator[Packets]:
    """Record what is sent while the context is open; complete once it is closed."""
    seen, end = Packets(), threading.Event()
    with inside.listen_to_packets() as source:
        thread = threading.Thread(target=_record, args=(source, seen, end))
        thread.start()
        try:
            yield seen
        finally:
            end.set()
            thread.join()


def _record(source: socket.socket, seen: Packets, end: threading.Event) -> None:
    """Read packets until the end, and those that are there by then."""
    while select.select([source], [], [], 0.1)[0] or not end.is_set():
        with contextlib.suppress(BlockingIOError):
            packet, address = source.recvfrom(_LONGEST, socket.MSG_DONTWAIT)
            if address[2] == _OUTGOING and (target := parse(packet)):
                seen.sent.append(target)


def parse(packet: bytes) -> Target | None:
    """Return where an IPv4 or IPv6 packet goes, if it counts."""
    if packet[0] >> 4 == 4:
        protocol, destination, payload = packet[9], packet[16:20], packet[4 * (packet[0] & 15) :]
    else:
        protocol, destination, payload = packet[6], packet[24:40], packet[40:]
    is_udp = protocol == socket.IPPROTO_UDP
    if is_udp or (protocol == socket.IPPROTO_TCP and payload[13] & _FLAGS == _SYN):
        port = int.from_bytes(payload[2:4], "big")
        return Target(protocol, str(ipaddress.ip_address(destination)), port)
    return None
