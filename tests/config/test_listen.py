"""Listeners: their addresses, and the keys of a UNIX socket."""

from pathlib import Path

import pytest

from postfix_mta_sts.config.address import TcpAddress, UnixAddress
from postfix_mta_sts.config.settings import ListenerSettings, parse
from tests.support.config import refused


class TestListen:
    """The key `listen`."""

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
        """An address is parsed into its normal form, for either protocol."""
        for wire in ("socketmap", "tcp_table"):
            (listener,) = parse(f"listen: [{{{wire}: '{written}'}}]", "x").listen
            assert (listener.wire, listener.address) == (wire, address)

    @pytest.mark.parametrize("written", ["127.0.0.1:1", "[::1]:1", "a.test:1", "unix:/run/x"])
    def test_address_as_text(self, written: str) -> None:
        """The text of an address is what the configuration wrote."""
        assert str(parse(f"listen: [{{socketmap: '{written}'}}]", "x").listen[0].address) == written

    @pytest.mark.parametrize(
        "written",
        [
            "", "8461", ":8461", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1",
            "127.0.0.1:٢", "127.0.0.1:1\\n", "999.1.1.1:1", "1.2.3:1", "a b:1", "a..b:1", "[::1]",
            "::1:8461", "[a]:1", "[127.0.0.1]:1", "inet:127.0.0.1:1", "*:1", "unix:", "unix:/\\0",
        ],
    )  # fmt: skip
    def test_invalid_address(self, written: str) -> None:
        """The error for an invalid address names the allowed forms."""
        error = refused(f'listen:\n  - socketmap: "{written}"')
        assert error.startswith("x.yml:2: listen[0].socketmap: found '")
        assert "; allowed: host:port, [v6]:port or unix:/path, or null" in error

    @pytest.mark.parametrize(
        ("path", "reason"),
        [("run/x", "the path is not absolute"), ("/" + 107 * "ü", "at most 107 bytes")],
    )
    def test_invalid_socket_path(self, path: str, reason: str) -> None:
        """A path that a socket cannot have is refused."""
        assert reason in refused(f"listen: [{{socketmap: 'unix:{path}'}}]")

    @pytest.mark.parametrize("written", ['"0660"', "0660", "660", "'660'"])
    def test_mode_is_octal_with_or_without_quotes(self, written: str) -> None:
        """A mode is octal, with or without quotes; YAML 1.1 would read 0660 as 432."""
        text = f"listen: [{{socketmap: 'unix:/x', mode: {written}}}]"
        assert parse(text, "x").listen[0].mode == 0o660

    @pytest.mark.parametrize(
        "written", ["'0860'", "0o660", "1777", "66", "true", "6.6", "[6]", "rw"]
    )
    def test_invalid_mode(self, written: str) -> None:
        """Only three octal digits are a mode."""
        error = refused(f"listen: [{{socketmap: 'unix:/x', mode: {written}}}]")
        assert error.startswith("x.yml:1: listen[0].mode: found ")
        assert '; allowed: octal digits in quotes, like "0660", or null' in error

    @pytest.mark.parametrize(
        ("written", "account"),
        [
            ("postfix", "postfix"), ("_x-1", "_x-1"), ("0", 0), ("'33'", 33),
            ("4294967294", 2**32 - 2),
        ],
    )  # fmt: skip
    def test_owner_and_group(self, written: str, account: str | int) -> None:
        """Owner and group are names or ids."""
        text = f"listen: [{{socketmap: 'unix:/x', owner: {written}, group: {written}}}]"
        (listener,) = parse(text, "x").listen
        assert (listener.owner, listener.group) == (account, account)

    @pytest.mark.parametrize("written", ["4294967295", "-1", "a b", "true", "a:b", "''"])
    def test_invalid_account(self, written: str) -> None:
        """A value that can be neither a name nor an id is refused."""
        error = refused(f"listen: [{{socketmap: 'unix:/x', group: {written}}}]")
        assert error.startswith("x.yml:1: listen[0].group: found ")

    @pytest.mark.parametrize(
        ("listener", "error"),
        [
            ("{}", "2: listen[0].socketmap: a listener needs either socketmap or tcp_table"),
            ("null", "2: listen[0].socketmap: a listener needs either socketmap or tcp_table"),
            ("{socketmap: 'a:1', tcp_table: 'a:2'}", "2: listen[0].socketmap: a listener needs"),
            ("{socketmap: 'a:1',\n tlsrpt: true}", "3: listen[0].tlsrpt: only for tcp_table"),
            ("{socketmap: 'a:1',\n mode: '0660'}", "3: listen[0].mode: only for a UNIX socket"),
            ("{tcp_table: 'a:1',\n owner: 0}", "3: listen[0].owner: only for a UNIX socket"),
            ("{tcp_table: 'a:1',\n group: x}", "3: listen[0].group: only for a UNIX socket"),
        ],
    )
    def test_conflicting_keys(self, listener: str, error: str) -> None:
        """Keys that exclude each other are refused."""
        assert refused(f"listen:\n - {listener}").startswith(f"x.yml:{error}")

    @pytest.mark.parametrize(
        ("first", "second"),
        [("A.test:1", "a.test:1"), ("[::1]:1", "[0:0::1]:1"), ("unix:/x", "unix:/x")],
    )
    def test_twice(self, first: str, second: str) -> None:
        """An address may be given once, in whatever form and for whichever protocol."""
        text = f"\nlisten: [{{socketmap: '{first}'}}, {{tcp_table: '{second}'}}]"
        assert refused(text) == f"x.yml:2: listen: {first.lower()} is given twice"

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            (
                "listen: [{socketmap: '127.0.0.1:1'}]\nmetrics: {listen: '127.0.0.1:1'}",
                "x.yml:2: metrics: 127.0.0.1:1 is given twice",
            ),
            (
                "listen: [{socketmap: 'unix:/s'}]\ncontrol: {path: /s}",
                "x.yml:2: control: unix:/s is given twice",
            ),
            (
                "metrics: {listen: 'unix:/s'}\ncontrol: {path: /s}",
                "x.yml:2: control: unix:/s is given twice",
            ),
        ],
    )
    def test_two_purposes_at_one_address(self, text: str, reason: str) -> None:
        """Listeners, metrics and the control socket need addresses of their own."""
        assert refused(text) == reason

    def test_any_free_port_twice(self) -> None:
        """Port 0 may be given twice: the system chooses another port each time."""
        text = "listen: [{socketmap: '127.0.0.1:0'}, {tcp_table: '127.0.0.1:0', tlsrpt: true}]"
        assert parse(text, "x").listen[1].tlsrpt

    def test_null_is_the_default(self) -> None:
        """A key of a listener that is null keeps its default."""
        text = "listen: [{socketmap: 'a:1', tcp_table: null, mode: null, owner: , group: ~}]"
        assert parse(text, "x").listen == (ListenerSettings(socketmap=TcpAddress("a", 1)),)

    def test_no_listener(self) -> None:
        """At least one listener is needed."""
        assert refused("listen: []") == (
            "x.yml:1: listen: at least one address is needed; write [{socketmap: 127.0.0.1:8461}]"
        )
