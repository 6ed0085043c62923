"""A TLS 1.2 server that only does Diffie-Hellman in the 8,192-bit group of RFC 3526 §7.

One handshake costs a client some tenths of a second of CPU. The server runs in a thread, because it
costs the server the same.
"""

import base64
import contextlib
import socket
import ssl
import tempfile
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

from tests.support.tls import Authority

HANDSHAKE_TIMEOUT: Final = 10.0
_BITS: Final = 8192
_OFFSET: Final = 4_743_158  # RFC 3526 §7
_GUARD: Final = 64


@contextlib.contextmanager
def dhe_server(authority: Authority, host: str, port: int) -> Iterator[None]:
    """Run the server at this address."""
    context = _context(authority)
    with socket.create_server((host, port), backlog=1024) as listener:
        thread = threading.Thread(target=_serve, args=(listener, context), daemon=True)
        thread.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(HANDSHAKE_TIMEOUT)


def _serve(listener: socket.socket, context: ssl.SSLContext) -> None:
    while True:
        try:
            sock, _ = listener.accept()
        except OSError:
            return
        with sock, contextlib.suppress(OSError):
            sock.settimeout(HANDSHAKE_TIMEOUT)
            context.wrap_socket(sock, server_side=True).close()


def _context(authority: Authority) -> ssl.SSLContext:
    context = authority.issue("dhe.test").server_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("DHE:@SECLEVEL=0")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "dh.pem"
        path.write_bytes(_parameters())
        context.load_dh_params(str(path))
    return context


@cache
def _parameters() -> bytes:
    """The group in PEM: a DER sequence of prime and generator (PKCS #3)."""
    prime = (1 << _BITS) - (1 << (_BITS - 64)) - 1 + ((_pi(_BITS - 130) + _OFFSET) << 64)
    der = _der(0x30, _integer(prime) + _integer(2))
    text = base64.encodebytes(der).decode()
    return f"-----BEGIN DH PARAMETERS-----\n{text}-----END DH PARAMETERS-----\n".encode()


def _integer(value: int) -> bytes:
    return _der(0x02, value.to_bytes(value.bit_length() // 8 + 1))


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    width = (size.bit_length() + 7) // 8
    return bytes([tag, 0x80 | width]) + size.to_bytes(width) + content


def _pi(bits: int) -> int:
    """The integer part of 2^bits times pi, by Machin's formula."""
    one = 1 << (bits + _GUARD)
    return (16 * _arctan(5, one) - 4 * _arctan(239, one)) >> _GUARD


def _arctan(inverse: int, one: int) -> int:
    """The arc tangent of 1 / inverse, as a multiple of 1 / one."""
    term = one // inverse
    total, divisor, sign = term, 1, 1
    while term:
        term //= inverse * inverse
        divisor, sign = divisor + 2, -sign
        total += sign * (term // divisor)
    return total
