"""Host names to listen on: their addresses, and those that this machine does not have."""

import errno
import socket
from pathlib import Path

import pytest

from postfix_mta_sts.config.address import TcpAddress, UnixAddress
from postfix_mta_sts.config.settings import MetricsSettings
from postfix_mta_sts.sockets import Binding, ListenError, host_names
from postfix_mta_sts.sockets.host_names import Bound, Openings, is_unreachable

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


@pytest.mark.parametrize(("addresses", "is_warned"), [("", True), ("0 01 80 10 80 lo\n", False)])
def test_all_addresses_of_a_family_that_is_off(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    addresses: str,
    is_warned: bool,  # noqa: FBT001 (a parameter of the test)
) -> None:
    """`[::]` can be opened with disable_ipv6=1, though no client reaches it: that is said."""
    (tmp_path / "if_inet6").write_text(addresses)
    monkeypatch.setattr(host_names, "_IPV6_ADDRESSES", tmp_path / "if_inet6")
    with socket.socket() as sock:
        opened = Openings(lambda _: sock).open(Binding(TcpAddress("::", 8461), MetricsSettings()))
        assert opened is sock
    warning = "no client can reach a listener, IPv6 is off address=[::]:8461 advice="
    assert [each.startswith(warning) for each in caplog.messages] == [True] * is_warned


def test_addresses_of_other_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the addresses are not known, or the address is another one, nothing is said."""
    monkeypatch.setattr(host_names, "_IPV6_ADDRESSES", tmp_path / "if_inet6")
    assert not is_unreachable(TcpAddress("::", 8461))
    (tmp_path / "if_inet6").touch()
    assert not is_unreachable(TcpAddress("0.0.0.0", 8461))
    assert not is_unreachable(UnixAddress(tmp_path))
