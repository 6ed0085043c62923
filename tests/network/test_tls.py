"""TLS with a server over a stream: how a session ends, and what a handshake may cost."""

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator

import pytest

from postfix_mta_sts.mtasts.errors import TlsError
from postfix_mta_sts.network.https import PolicyFetcher
from postfix_mta_sts.network.stream import open_stream
from postfix_mta_sts.network.tls import MAX_OVERHEAD, TlsStream, client_context
from tests.support.fetchers import HOST, failure
from tests.support.policy_host import PolicyHost, Script, then_abort
from tests.support.tls import EXPIRED, Authority

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])

REQUEST = f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()


@pytest.fixture
async def tls(host: PolicyHost, authority: Authority) -> AsyncIterator[TlsStream]:
    """A connection to the Policy Host, before its handshake."""
    sock = socket.create_connection((host.host, host.port))
    sock.settimeout(0)
    stream = await open_stream(sock)
    yield TlsStream(stream, client_context(authority.certificate.decode()), HOST)
    stream.abort()
    await asyncio.sleep(0)


def then_cut(data: bytes) -> Script:
    """A response after which TCP ends in order, and the TLS session does not."""

    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        descriptor = os.dup(writer.get_extra_info("socket").fileno())
        with socket.socket(fileno=descriptor) as sock:
            sock.shutdown(socket.SHUT_WR)
        await asyncio.Event().wait()

    return script


async def test_the_session_is_closed(host: PolicyHost, tls: TlsStream) -> None:
    """After close_notify the data is complete: a read returns nothing."""
    host.answers[HOST] = b"data"
    await tls.handshake()
    assert tls.has_spoken
    tls.write(REQUEST)
    assert await tls.read() == b"data"
    assert await tls.read() == b""


@pytest.mark.parametrize(
    ("answer", "error"),
    [(then_cut(b"data"), ssl.SSLEOFError), (then_abort(b"data"), OSError)],
    ids=["end of TCP", "reset"],
)
async def test_the_session_is_cut(
    host: PolicyHost, tls: TlsStream, answer: Script, error: type[OSError]
) -> None:
    """Without close_notify the data may be incomplete: an error tells."""
    host.answers[HOST] = answer
    await tls.handshake()
    tls.write(REQUEST)
    with pytest.raises(error):  # noqa: PT012 (a reset may come before the data is read)
        while await tls.read():
            pass


async def test_a_large_certificate(
    fetcher: PolicyFetcher, host: PolicyHost, authority: Authority
) -> None:
    """A handshake above the limit is refused; OpenSSL would take 100 KiB."""
    names = (f"n{number:05}.good.test" for number in range(4_000))
    host.credentials[HOST] = authority.issue(HOST, *names)
    reason = await failure(fetcher, TlsError)
    assert reason == f"more than {MAX_OVERHEAD} bytes of TLS without data"


async def test_the_server_gets_the_alert(
    tls: TlsStream,
    host: PolicyHost,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The administrator of a Policy Host finds the reason of a failure in its log."""
    host.credentials[HOST] = authority.issue(HOST, valid=EXPIRED)
    sent: list[bytes] = []
    write = tls._stream.write

    def note(data: bytes) -> None:
        sent.append(data)
        write(data)

    monkeypatch.setattr(tls._stream, "write", note)
    with pytest.raises(ssl.SSLCertVerificationError):
        await tls.handshake()
    assert len(sent) == 2  # a ClientHello and the alert, which TLS 1.3 encrypts


async def test_context(authority: Authority) -> None:
    """Each renegotiation would cost another handshake; TLS 1.2 has elliptic curves only."""
    context = client_context(authority.certificate.decode())
    assert ssl.OP_NO_RENEGOTIATION in context.options
    suites = {suite["kea"] for suite in context.get_ciphers()}
    assert suites == {"kx-any", "kx-ecdhe"}  # any: TLS 1.3


async def test_suites(authority: Authority) -> None:
    """The suites of TLS 1.2 do not depend on how Python was built."""
    suites = client_context(authority.certificate.decode()).get_ciphers()
    found = {suite["name"] for suite in suites if suite["protocol"] == "TLSv1.2"}
    old = {suite["name"] for suite in suites if suite["protocol"] == "TLSv1.0"}
    keys = ("ECDSA", "RSA")
    assert found == {
        f"ECDHE-{key}-{name}"
        for key in keys
        for name in (
            "AES128-GCM-SHA256",
            "AES256-GCM-SHA384",
            "CHACHA20-POLY1305",
            "AES128-SHA256",
            "AES256-SHA384",
        )
    }
    assert old == {f"ECDHE-{key}-{name}" for key in keys for name in ("AES128-SHA", "AES256-SHA")}
