"""The addresses of listeners: names with several addresses, and families that are switched off."""

import socket
from pathlib import Path

import pytest

from postfix_mta_sts.config.address import TcpAddress, UnixAddress
from postfix_mta_sts.config.settings import ListenerSettings
from postfix_mta_sts.postfix.places import Place, places_of
from postfix_mta_sts.sockets import ListenError

TWO = ("::1", "127.0.0.1")


def named(port: int = 8461, host: str = "two.test") -> ListenerSettings:
    """A listener at a host name."""
    return ListenerSettings(socketmap=TcpAddress(host, port))


@pytest.fixture(autouse=True)
def hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file hosts has ::1 for the name, then 127.0.0.1."""

    def look_up(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        if host != "two.test":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(0, 0, 0, "", (each, port)) for each in (*TWO, "::1")]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


def test_every_address_of_a_name() -> None:
    """A name stands for all its addresses, each once, with the name beside it."""
    places = places_of([named()])
    assert [each.address for each in places] == [TcpAddress(host, 8461) for host in TWO]
    assert {each.name for each in places} == {TcpAddress("two.test", 8461)}


def test_addresses_need_no_look_up(tmp_path: Path) -> None:
    """Addresses and paths are what they are."""
    path = UnixAddress(tmp_path)
    listeners = [
        ListenerSettings(socketmap=TcpAddress("::", 1)),
        ListenerSettings(tcp_table=TcpAddress("127.0.0.1", 1)),
        ListenerSettings(socketmap=path),
    ]
    places = places_of(listeners)
    assert [each.address for each in places] == [each.address for each in listeners]
    assert [each.name for each in places] == [None, None, None]
    assert places[2].key == path


def test_an_unknown_name() -> None:
    """A name without an address is refused; the error names it."""
    with pytest.raises(ListenError, match=r"cannot listen on no\.test:1: .*not known"):
        places_of([named(1, "no.test")])


def test_the_same_address_by_name() -> None:
    """A name and one of its addresses are one socket: an error that names both."""
    both = [named(), ListenerSettings(tcp_table=TcpAddress("127.0.0.1", 8461))]
    text = r"127\.0\.0\.1:8461: two\.test:8461 and 127\.0\.0\.1:8461 are the same address"
    with pytest.raises(ListenError, match=text):
        places_of(both)


def test_any_port() -> None:
    """With port 0 each place has a port of its own."""
    listeners = [named(0), ListenerSettings(tcp_table=TcpAddress("127.0.0.1", 0))]
    assert len({each.key for each in places_of(listeners)}) == 3
    assert Place(listeners[0], TcpAddress("::1", 0)) == places_of(listeners)[0]
