"""Listeners: their addresses, and the keys of a UNIX socket."""

from pathlib import Path

import pytest

from postfix_mta_sts.config.address import TcpAddress, UnixAddress
from postfix_mta_sts.config.settings import ListenerSettings, parse
from tests.support.config import refused


class TestListen:
    """The addresses."""

    @pytest.mark.parametrize(
        ("written", "address"),
        [
            ("127.0.0.1:8461", TcpAddress("127.0.0.1", 8461)),
            ("0.0.0.0:0", TcpAddress("0.0.0.0", 0)),
            ("LocalHost:1", TcpAddress("localhost", 1)),
            ("[::1]:65535", TcpAddress("::1", 65535)),
            ("[2001:DB8::0:1]:25", TcpAddress("2001:db8::1", 25)),
            ("unix:/run/a b.sock", UnixAddress(Path("/run/a b.sock"))),
        ],
    )
    def test_address(self, written: str, address: TcpAddress | UnixAddress) -> None:
        """An address is read in its one form, over the wire that the key names."""
        for wire in ("socketmap", "tcp_table"):
            (listener,) = parse(f"listen: [{{{wire}: '{written}'}}]", "x").listen
            assert (listener.wire, listener.address) == (wire, address)

    @pytest.mark.parametrize("written", ["127.0.0.1:1", "[::1]:1", "a.test:1", "unix:/run/x"])
    def test_address_as_text(self, written: str) -> None:
        """An address reads as it is written."""
        assert str(parse(f"listen: [{{socketmap: '{written}'}}]", "x").listen[0].address) == written

    @pytest.mark.parametrize(
        "written",
        [
            "", "8461", ":8461", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1",
            "127.0.0.1:٢", "127.0.0.1:1\\n", "999.1.1.1:1", "1.2.3:1", "a b:1", "a..b:1", "[::1]",
            "::1:8461", "[a]:1", "[127.0.0.1]:1", "inet:127.0.0.1:1", "*:1", "unix:", "unix:/\\0",
        ],
    )  # fmt: skip
    def test_no_address(self, written: str) -> None:
        """What is no address is refused with the forms that are."""
        said = refused(f'listen:\n  - socketmap: "{written}"')
        assert said.startswith("x.yml:2: listen[0].socketmap: found '")
        assert said.endswith("; allowed: host:port, [v6]:port or unix:/path, or null")

    @pytest.mark.parametrize(
        ("path", "reason"),
        [("run/x", "the path is not absolute"), ("/" + 107 * "ü", "at most 107 bytes")],
    )
    def test_no_socket_path(self, path: str, reason: str) -> None:
        """A path that no socket can have is refused."""
        assert reason in refused(f"listen: [{{socketmap: 'unix:{path}'}}]")

    @pytest.mark.parametrize("written", ['"0660"', "0660", "660", "'660'"])
    def test_mode_is_octal_however_written(self, written: str) -> None:
        """A mode is octal, in quotes or without: YAML 1.1 would make 432 of 0660."""
        text = f"listen: [{{socketmap: 'unix:/x', mode: {written}}}]"
        assert parse(text, "x").listen[0].mode == 0o660

    @pytest.mark.parametrize(
        "written", ["'0860'", "0o660", "1777", "66", "true", "6.6", "[6]", "rw"]
    )
    def test_no_mode(self, written: str) -> None:
        """What is not three octal digits is no mode."""
        said = refused(f"listen: [{{socketmap: 'unix:/x', mode: {written}}}]")
        assert said.startswith("x.yml:1: listen[0].mode: found ")
        assert said.endswith('; allowed: octal digits in quotes, like "0660", or null')

    @pytest.mark.parametrize(
        ("written", "account"),
        [
            ("postfix", "postfix"), ("_x-1", "_x-1"), ("0", 0), ("'33'", 33),
            ("4294967294", 2**32 - 2),
        ],
    )  # fmt: skip
    def test_owner_and_group(self, written: str, account: str | int) -> None:
        """Accounts are names or ids."""
        text = f"listen: [{{socketmap: 'unix:/x', owner: {written}, group: {written}}}]"
        (listener,) = parse(text, "x").listen
        assert (listener.owner, listener.group) == (account, account)

    @pytest.mark.parametrize("written", ["4294967295", "-1", "a b", "true", "a:b", "''"])
    def test_no_account(self, written: str) -> None:
        """What can be neither a name nor an id is refused."""
        said = refused(f"listen: [{{socketmap: 'unix:/x', group: {written}}}]")
        assert said.startswith("x.yml:1: listen[0].group: found ")

    @pytest.mark.parametrize(
        ("listener", "said"),
        [
            ("{}", "2: listen[0].socketmap: either it or tcp_table is needed, and not both"),
            ("null", "2: listen[0].socketmap: either it or tcp_table is needed, and not both"),
            ("{socketmap: 'a:1', tcp_table: 'a:2'}", "2: listen[0].socketmap: either it or"),
            ("{socketmap: 'a:1',\n tlsrpt: true}", "3: listen[0].tlsrpt: goes with tcp_table only"),
            ("{socketmap: 'a:1',\n mode: '0660'}", "3: listen[0].mode: goes with unix:/path only"),
            ("{tcp_table: 'a:1',\n owner: 0}", "3: listen[0].owner: goes with unix:/path only"),
            ("{tcp_table: 'a:1',\n group: x}", "3: listen[0].group: goes with unix:/path only"),
        ],
    )
    def test_keys_that_do_not_fit(self, listener: str, said: str) -> None:
        """Keys that make no sense together are refused."""
        assert refused(f"listen:\n - {listener}").startswith(f"x.yml:{said}")

    @pytest.mark.parametrize(
        ("first", "second"),
        [("A.test:1", "a.test:1"), ("[::1]:1", "[0:0::1]:1"), ("unix:/x", "unix:/x")],
    )
    def test_twice(self, first: str, second: str) -> None:
        """One address is listened on once, however it is written and whatever is spoken there."""
        text = f"\nlisten: [{{socketmap: '{first}'}}, {{tcp_table: '{second}'}}]"
        assert refused(text) == f"x.yml:2: listen: {first.lower()} stands there twice"

    def test_any_free_port_twice(self) -> None:
        """Port 0 is another port each time."""
        text = "listen: [{socketmap: '127.0.0.1:0'}, {tcp_table: '127.0.0.1:0', tlsrpt: true}]"
        assert parse(text, "x").listen[1].tlsrpt

    def test_null_is_the_default(self) -> None:
        """A key of a listener that is null is as though it were not there."""
        text = "listen: [{socketmap: 'a:1', tcp_table: null, mode: null, owner: , group: ~}]"
        assert parse(text, "x").listen == (ListenerSettings(socketmap=TcpAddress("a", 1)),)

    def test_nowhere(self) -> None:
        """A daemon that listens nowhere is no use."""
        assert refused("listen: []") == "x.yml:1: listen: at least one address is needed"
