"""Ports that stay free: for what is bound to one port at several addresses, or some time later."""

import secrets
import socket
from typing import Final

# Below the ports that Linux gives to a socket bound to port 0 (net.ipv4.ip_local_port_range), so
# that no other test's server or client gets one of them.
_PORTS: Final = range(20_000, 32_000)


def free_port() -> int:
    """Return a port that is free at every address, for TCP and UDP."""
    while True:
        port = secrets.choice(_PORTS)
        if _is_free(port):
            return port


def _is_free(port: int) -> bool:
    """Tell whether the port can be bound at all addresses of both families."""
    with (
        socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as tcp,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as udp,
    ):
        try:
            for sock in (tcp, udp):
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                sock.bind(("::", port))
        except OSError:
            return False
    return True
