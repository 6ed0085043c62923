"""Open a tunnel to a Policy Host through an HTTP proxy (CONNECT, RFC 9110 §9.3.6).

The caller speaks TLS and HTTP through the tunnel, and closes it; see `https`.
"""

import base64
from collections.abc import Callable
from contextlib import closing
from typing import Final
from urllib.parse import SplitResult, unquote

from postfix_mta_sts.mtasts.errors import FetchError, UnreachableError
from postfix_mta_sts.network.connect import connect, describe, limit_addresses, system_addresses
from postfix_mta_sts.network.http_response import ResponseReader
from postfix_mta_sts.network.stream import Stream, open_stream
from postfix_mta_sts.network.trace import FetchTrace

_SUCCESSFUL: Final = range(200, 300)
"""Each of these opens the tunnel (RFC 9110 §9.3.6)."""


async def connect_to_proxy(
    proxy: SplitResult, trace: FetchTrace, count_socket: Callable[[], None]
) -> Stream:
    """Connect to the proxy; raises `UnreachableError`, or `OwnFaultError` if there is no socket.

    `count_socket` is called before each socket is made; see `Connections.connecting`.
    """
    host, port = proxy.hostname or "", proxy.port or 80
    try:
        # The administrator chose this name; it may be in /etc/hosts.
        addresses = limit_addresses(await system_addresses(host, port))
    except OSError as error:
        raise UnreachableError(f"the proxy's name: {describe(error)}") from error

    def note(address: str) -> None:
        count_socket()
        trace.address = address

    try:
        trace.address, sock = await connect(addresses, port, note)
        return await open_stream(sock)
    except OSError as error:
        raise UnreachableError(f"the proxy: {describe(error)}") from error


async def open_tunnel(
    stream: Stream, proxy: SplitResult, host: str, port: int, trace: FetchTrace
) -> None:
    """Let the proxy connect to `host`, which it resolves; raises `UnreachableError`."""
    try:
        status = await _request_tunnel(stream, proxy, f"{host}:{port}", trace)
    except FetchError as error:
        raise UnreachableError(f"the proxy: {error}") from error
    if status not in _SUCCESSFUL:
        raise UnreachableError(f"the proxy answered HTTP {status}")


async def _request_tunnel(
    stream: Stream, proxy: SplitResult, target: str, trace: FetchTrace
) -> int:
    """Send CONNECT and return the status of the response."""
    request = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{_credentials(proxy)}\r\n"
    stream.write(request.encode())
    with closing(ResponseReader(stream.read, trace)) as reader:
        return (await reader.head()).status


def _credentials(proxy: SplitResult) -> str:
    """The Proxy-Authorization field (RFC 7617), if the proxy's URL has a user name."""
    if proxy.username is None:
        return ""
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode()
    return f"Proxy-Authorization: Basic {base64.b64encode(pair).decode('ascii')}\r\n"
