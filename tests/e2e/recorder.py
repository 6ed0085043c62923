"""A name server and a socketmap that record what Postfix asks, in threads of the test.

Every name has an MX host, so that smtp(8) goes on to ask for the policy; every policy is answered
"try again", so that it goes no further.
"""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import dns.flags
import dns.message
import dns.rdatatype
import dns.rrset

from tests.e2e.namespace import Namespace

RECORDER_DNS: Final = "127.0.0.71"
RECORDER_PORT: Final = 8471

_ANSWERS: Final = {"MX": "10 mx.recorder.test.", "A": "127.0.0.72"}


@dataclass(slots=True)
class Recorder:
    """What Postfix has asked so far."""

    mx: list[str] = field(default_factory=list)
    """Names of MX queries, without the final dot."""
    keys: list[str] = field(default_factory=list)
    """Keys of look-ups."""

    def answer_dns(self, sock: socket.socket) -> None:
        """Answer queries until the socket is shut down."""
        while True:
            data, peer = sock.recvfrom(4096)
            if not data:
                return
            query = dns.message.from_wire(data)
            response = dns.message.make_response(query, recursion_available=True)
            name, kind = query.question[0].name, dns.rdatatype.to_text(query.question[0].rdtype)
            if kind == "MX":
                self.mx.append(name.to_text(omit_final_dot=True))
            if kind in _ANSWERS:
                answer = dns.rrset.from_text(name, 60, "IN", kind, _ANSWERS[kind])
                response.answer.append(answer)
            sock.sendto(response.to_wire(), peer)

    def accept(self, listener: socket.socket) -> None:
        """Serve each client in a thread until the listener is shut down."""
        with contextlib.suppress(OSError):
            while True:
                _run(self._serve, listener.accept()[0])

    def _serve(self, client: socket.socket) -> None:
        with client, client.makefile("rwb") as stream:
            while length := b"".join(iter(lambda: stream.read(1).rstrip(b":"), b"")):
                self.keys.append(stream.read(int(length)).partition(b" ")[2].decode())
                stream.read(1)
                stream.write(b"13:TEMP recorded,")
                stream.flush()


@contextlib.contextmanager
def recorder(inside: Namespace) -> Iterator[Recorder]:
    """Record while the context is open."""
    made = Recorder()
    with (
        _served(inside.bind(RECORDER_DNS, 53), made.answer_dns),
        _served(inside.listen("127.0.0.1", RECORDER_PORT), made.accept),
    ):
        yield made


@contextlib.contextmanager
def _served(sock: socket.socket, serve: Callable[[socket.socket], None]) -> Iterator[None]:
    with sock:
        thread = _run(serve, sock)
        yield
        with contextlib.suppress(OSError):  # a UDP socket is not connected, but its reader wakes
            sock.shutdown(socket.SHUT_RDWR)
        thread.join()


def _run(serve: Callable[[socket.socket], None], sock: socket.socket) -> threading.Thread:
    thread = threading.Thread(target=serve, args=(sock,), daemon=True)
    thread.start()
    return thread
