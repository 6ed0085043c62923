"""Host names to listen on: their addresses, and those that this machine does not have."""

import errno
import socket

import pytest

from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.config.settings import MetricsSettings
from postfix_mta_sts.host_names import Bound, Openings
from postfix_mta_sts.sockets import Binding, ListenError

NAME = TcpAddress("two.test", 9461)
ONE, TWO = (Binding(TcpAddress(f"192.0.2.{n}", 9461), MetricsSettings()) for n in (1, 2))


def opening(**errors: int) -> Openings:
    """Addresses that cannot be opened, with the error number for each."""

    def open_socket(binding: Binding) -> socket.socket:
        number = errors["one" if binding == ONE else "two"]
        raise ListenError(f"cannot listen on {binding.address}") from OSError(number, "no")

    return Openings(open_socket)


def test_no_address_is_available() -> None:
    """The error is that of the first address."""
    openings = opening(one=errno.EADDRNOTAVAIL, two=errno.EAFNOSUPPORT)
    assert (openings.open(ONE), openings.open(TWO)) == (None, None)
    with pytest.raises(ListenError, match=r"192\.0\.2\.1:9461"):
        openings.check(Bound(NAME, (ONE, TWO)))


def test_an_address_in_use() -> None:
    """Any other error counts, whatever other addresses there are."""
    with pytest.raises(ListenError, match=r"192\.0\.2\.1:9461"):
        opening(one=errno.EADDRINUSE).open(ONE)
