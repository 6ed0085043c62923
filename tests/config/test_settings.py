"""What may be said is read; what may not is refused, with the key and what is allowed."""

import json
import re
from pathlib import Path
from typing import get_args, get_origin

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import fields

from postfix_mta_sts.config.address import TcpAddress, UnixAddress
from postfix_mta_sts.config.settings import (
    CacheSettings,
    ConfigError,
    DaneSettings,
    DnsSettings,
    HttpsSettings,
    ListenerSettings,
    LogSettings,
    LookupSettings,
    MapSettings,
    RefreshSettings,
    Settings,
    default_cache_path,
    load,
    parse,
)
from tests.support.tls import Authority

EXAMPLE = Path(__file__).parents[2] / "config.example.yml"


def refused(text: str) -> str:
    """The words in which a text is refused."""
    with pytest.raises(ConfigError) as caught:
        parse(text, "x.yml")
    return str(caught.value)


def keys(kind: object) -> set[str]:
    """Every key that a configuration can have."""
    if isinstance(kind, type) and issubclass(kind, Struct):
        return {f.name for f in fields(kind)} | set[str]().union(
            *(keys(f.type) for f in fields(kind))
        )
    return set[str]().union(*map(keys, get_args(kind))) if get_origin(kind) else set()


class TestDefaults:
    """What holds where nothing is said."""

    @pytest.mark.parametrize("text", ["", "# nothing\n", "{}", "https:\nlisten:\nmaps:\n", "---\n"])
    def test_nothing_said(self, text: str) -> None:
        """An empty file and empty sections are the defaults."""
        assert parse(text, "x.yml") == Settings()

    def test_values(self) -> None:
        """The defaults are those that the project has promised."""
        assert Settings() == Settings(
            listen=(ListenerSettings(socketmap=TcpAddress("127.0.0.1", 8461)),),
            maps={
                "postfix": MapSettings(tlsrpt=False, servername=True, enforce_testing=False),
                "QUERY": MapSettings(tlsrpt=False, servername=True, enforce_testing=False),
                "QUERYwithTLSRPT": MapSettings(tlsrpt=True, servername=True, enforce_testing=False),
            },
            cache=CacheSettings(path=None, memory_entries=100000),
            lookup=LookupSettings(timeout=10.0),
            dns=DnsSettings(nameservers=(), timeout=5.0, on_failure="deliver", trust_ad=False),
            dane=DaneSettings(mode="auto", answer="dane-only", on_failure="defer"),
            https=HttpsSettings(
                timeout=60.0,
                ca_file=None,
                proxy=None,
                allow_private_addresses=False,
                concurrency=200,
            ),
            refresh=RefreshSettings(idle_after=30 * 24 * 3600.0),
            log=LogSettings(level="info", format="text"),
        )


class TestExample:
    """The example file."""

    def test_says_the_defaults(self) -> None:
        """The example file, as it stands, says what holds without it."""
        assert load(EXAMPLE) == Settings()

    def test_names_every_key(self) -> None:
        """Every key that there is stands in the example file, be it as a comment."""
        text = EXAMPLE.read_text("utf-8")
        assert {k for k in keys(Settings) if not re.search(rf"\b{k}:", text)} == set()

    def test_comments_hold(self) -> None:
        """What the example shows as comments can be used as it stands there."""
        text = EXAMPLE.read_text("utf-8")
        shown = re.sub(r"^  # (?=[ -] |\w+:)", "  ", text, flags=re.MULTILINE)
        settings = parse(shown, "example")
        assert settings.listen[1:] == (
            ListenerSettings(
                socketmap=UnixAddress(Path("/run/postfix-mta-sts/socketmap.sock")),
                mode=0o660,
                group="postfix",
            ),
            ListenerSettings(tcp_table=TcpAddress("127.0.0.1", 8462)),
        )
        assert settings.maps["strict"] == MapSettings(enforce_testing=True)
        assert settings.maps["old"] == MapSettings(servername=False)


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


class TestMaps:
    """The map names."""

    def test_added_to_the_known_ones(self) -> None:
        """Names of one's own are added; one that is known already is replaced."""
        maps = parse("maps: {mine: {servername: false}, QUERYwithTLSRPT: , 1: {}}", "x").maps
        assert maps == {
            "postfix": MapSettings(),
            "QUERY": MapSettings(),
            "QUERYwithTLSRPT": MapSettings(),
            "mine": MapSettings(servername=False),
            "1": MapSettings(),
        }

    @pytest.mark.parametrize("name", ["a b", "", "ü", "a\n"])
    def test_no_map_name(self, name: str) -> None:
        """A name that no request can bear is refused."""
        said = refused(f"\nmaps: {{{json.dumps(name)}: {{}}}}")
        assert said == f"x.yml:2: maps: {name!r} is not printable ASCII without blanks"


class TestDurations:
    """Numbers of seconds."""

    @pytest.mark.parametrize(
        ("written", "seconds"),
        [("1", 1), ("0.5", 0.5), ("'2'", 2), ("30s", 30), ("1.5m", 90), ("0.001s", 0.001)],
    )
    def test_read(self, written: str, seconds: float) -> None:
        """A duration is a number of seconds, or has its unit with it."""
        assert parse(f"lookup: {{timeout: {written}}}", "x").lookup.timeout == seconds

    def test_units(self) -> None:
        """Hours and days are read too."""
        assert parse("refresh: {idle_after: 1h}", "x").refresh.idle_after == 3600
        assert parse("refresh: {idle_after: 2d}", "x").refresh.idle_after == 172800

    @pytest.mark.parametrize(
        "written",
        [
            "0",
            "-1",
            "0s",
            "91s",
            "1e9",
            "soon",
            "10 s",
            "1h30m",
            "true",
            "null",
            "[1]",
            "٣s",
            ".inf",
        ],
    )
    def test_refused(self, written: str) -> None:
        """What is no duration, or none that makes sense, is refused with what is allowed."""
        said = refused(f"lookup:\n  timeout: {written}")
        assert said.startswith("x.yml:2: lookup.timeout: found ")
        assert said.endswith(
            "; allowed: a number of seconds, or 30s, 5m, 1h, 30d, from 0.001s to 90s"
        )


class TestValues:
    """The other values."""

    def test_read(self, tmp_path: Path) -> None:
        """What is allowed is read."""
        certificate_file = Authority().write(tmp_path)
        settings = parse(
            f"""
            cache: {{path: /var/x.db, memory_entries: 1}}
            dns: {{nameservers: [192.0.2.1, '192.0.2.1:5353', '2001:db8::1', '[2001:db8::1]:53'],
                   on_failure: defer, trust_ad: true}}
            dane: {{mode: on, answer: yield, on_failure: mta_sts}}
            https: {{ca_file: {certificate_file}, proxy: 'http://u:p@proxy.test:3128/',
                     allow_private_addresses: true, concurrency: 10000}}
            log: {{level: debug, format: json}}
            """,
            "x",
        )
        assert settings.cache == CacheSettings(path=Path("/var/x.db"), memory_entries=1)
        assert settings.dns == DnsSettings(
            nameservers=("192.0.2.1", "192.0.2.1:5353", "2001:db8::1", "[2001:db8::1]:53"),
            on_failure="defer",
            trust_ad=True,
        )
        assert settings.dane == DaneSettings(mode="on", answer="yield", on_failure="mta_sts")
        assert settings.https == HttpsSettings(
            ca_file=certificate_file,
            proxy="http://u:p@proxy.test:3128/",
            allow_private_addresses=True,
            concurrency=10000,
        )
        assert settings.log == LogSettings(level="debug", format="json")

    @pytest.mark.parametrize(
        ("section", "key", "written", "rest"),
        [
            ("cache", "path", "''", "found ''; allowed: the path of a file, or null"),
            ("cache", "path", "3", "found 3; allowed: the path of a file, or null"),
            ("cache", "memory_entries", "0", "found 0; allowed: a whole number from 1 to 10000000"),
            ("cache", "memory_entries", "1.5", "found 1.5; allowed: a whole number from 1 to"),
            ("dns", "on_failure", "no", "found 'no'; allowed: deliver or defer"),
            ("dns", "trust_ad", "yes", "found 'yes'; allowed: true or false"),
            ("dane", "mode", "true", "found true; allowed: auto, on or off"),
            ("dane", "answer", "secure", "found 'secure'; allowed: dane-only, dane or yield"),
            ("dane", "on_failure", "deliver", "found 'deliver'; allowed: defer or mta_sts"),
            ("dns", "nameservers", "192.0.2.1", "found '192.0.2.1'; allowed: a list"),
            ("https", "concurrency", "true", "found true; allowed: a whole number from 1 to 10000"),
            ("https", "allow_private_addresses", "yes", "found 'yes'; allowed: true or false"),
            ("https", "allow_private_addresses", "", "found nothing; allowed: true or false"),
            (
                "https",
                "ca_file",
                "/no/such",
                "found '/no/such': No such file or directory; allowed: ",
            ),
            ("https", "ca_file", __file__, ": it holds no certificate in PEM form; allowed: "),
            ("https", "proxy", "socks5://a:1", "found 'socks5://a:1'; allowed: http://host:port"),
            ("https", "proxy", "http://a:0", "found 'http://a:0'; allowed: http://host:port"),
            ("https", "proxy", "http://", "found 'http://'; allowed: http://host:port"),
            ("https", "proxy", "'http://a b'", "found 'http://a b'; allowed: http://host:port"),
            ("https", "proxy", "http://a:x", "allowed: http://host:port, or null"),
            ("https", "proxy", "http://a/b", ": there is more in it than a host and a port; allow"),
            ("https", "proxy", "{a: 1}", "found a mapping; allowed: http://host:port, or null"),
            ("log", "level", "INFO", "found 'INFO'; allowed: debug, info, warning or error"),
            ("log", "format", "[text]", "found a list; allowed: text or json"),
        ],
    )
    def test_refused(self, section: str, key: str, written: str, rest: str) -> None:
        """What is not allowed is refused with its line, its key, itself and what is allowed."""
        said = refused(f"{section}:\n  {key}: {written}\n")
        assert said.startswith(f"x.yml:2: {section}.{key}: found ")
        assert rest in said

    @pytest.mark.parametrize(
        "written",
        ["dns.test", "dns.test:53", "192.0.2.1:0", "fe80::1%eth0", "192.0.2.1:99999", "", "1.1"],
    )
    def test_no_nameserver(self, written: str) -> None:
        """A nameserver is an address: a name would need another to be found."""
        said = refused(f"dns: {{nameservers: [192.0.2.1, '{written}']}}")
        assert said.startswith(
            f"x.yml:1: dns.nameservers[1]: found '{written}'; allowed: 192.0.2.1,"
        )

    def test_password_is_not_shown(self) -> None:
        """A refused proxy does not bring its password into the log."""
        assert "secret" not in refused("https: {proxy: 'http://u:secret@h:0'}")

    def test_long_value_is_cut(self) -> None:
        """A refused value is shown so far as to be known again."""
        assert len(refused(f"log: {{level: {'x' * 5000}}}")) < 200


class TestShape:
    """Keys and sections."""

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("- 1", "x.yml:1: found a list; allowed: the keys listen, maps, cache, lookup, dns, "),
            ("hello", "x.yml:1: found 'hello'; allowed: the keys listen, "),
            ("log: 3", "x.yml:1: log: found 3; allowed: the keys level, format"),
            ("maps: [a]", "x.yml:1: maps: found a list; allowed: map names and their dress"),
            ("maps: {a: {b: 1}}", "x.yml:1: maps.a.b: unknown key; allowed: tlsrpt, servername, "),
            ("maps: {'a.b': 1}", "x.yml:1: maps.'a.b': found 1; allowed: the keys tlsrpt, "),
            ("\nlsten: 1", "x.yml:2: lsten: unknown key; allowed: listen, maps, "),
            ("log:\n  levle: info", "x.yml:2: log.levle: unknown key; allowed: level, format"),
            ("listen: {a: 1}", "x.yml:1: listen: found a mapping; allowed: a list"),
            ("listen: [{port: 1}]", "x.yml:1: listen[0].port: unknown key; allowed: socketmap, "),
            ("a: 1\na: 2", "x.yml:2: the key 'a' stands in line 1 too"),
            ("a: b: c", "x.yml:1: not YAML: mapping values are not allowed here"),
        ],
    )
    def test_refused(self, text: str, said: str) -> None:
        """What is at the wrong place is refused with its path and what belongs there."""
        assert refused(text).startswith(said)


class TestLoad:
    """Files."""

    def test_file(self, tmp_path: Path) -> None:
        """A file is read as UTF-8."""
        path = tmp_path / "x.yml"
        path.write_text("log: {level: error}  # ü", "utf-8")
        assert load(path).log.level == "error"

    def test_refused_with_its_name(self, tmp_path: Path) -> None:
        """What is refused names its file."""
        path = tmp_path / "x.yml"
        path.write_text("log: 1", "utf-8")
        with pytest.raises(ConfigError, match=rf"^{re.escape(str(path))}:1: log: found 1"):
            load(path)

    def test_no_file(self, tmp_path: Path) -> None:
        """A file that is not there is refused, not taken for an empty one."""
        with pytest.raises(
            ConfigError, match=r"x\.yml: cannot be read: No such file or directory$"
        ):
            load(tmp_path / "x.yml")

    def test_not_utf8(self, tmp_path: Path) -> None:
        """A file in another encoding is refused."""
        path = tmp_path / "x.yml"
        path.write_bytes(b"log: \xff")
        with pytest.raises(ConfigError, match=r"not UTF-8 at byte 5$"):
            load(path)


class TestDefaultCachePath:
    """Where policies are kept if nobody says."""

    @pytest.mark.parametrize(
        ("environ", "path"),
        [
            ({"STATE_DIRECTORY": "/var/lib/a", "HOME": "/h"}, "/var/lib/a/policies.db"),
            ({"STATE_DIRECTORY": "/var/lib/a:/b"}, "/var/lib/a/policies.db"),
            (
                {"STATE_DIRECTORY": "", "XDG_STATE_HOME": "/s", "HOME": "/h"},
                "/s/postfix-mta-sts/policies.db",
            ),
            (
                {"XDG_STATE_HOME": "relative", "HOME": "/h"},
                "/h/.local/state/postfix-mta-sts/policies.db",
            ),
            ({"HOME": "/h"}, "/h/.local/state/postfix-mta-sts/policies.db"),
        ],
    )
    def test_by_environment(self, environ: dict[str, str], path: str) -> None:
        """The state directory of systemd comes first, then the user's own."""
        assert default_cache_path(environ) == Path(path)

    def test_without_any(self) -> None:
        """Without an environment the user's home is still found."""
        path = default_cache_path({})
        assert path == Path.home() / ".local/state/postfix-mta-sts/policies.db"


_names = st.sampled_from(sorted(keys(Settings)))
_junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["30s", "127.0.0.1:1", "unix:/x", "info", "http://[", "http://a:1", "0660"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(_names | st.text(max_size=4), inner, max_size=3),
)  # fmt: skip


class TestProperty:
    """Whatever stands in the text."""

    @given(st.dictionaries(st.sampled_from([f.name for f in fields(Settings)]), _junk))
    def test_any_values(self, document: dict[str, object]) -> None:
        """Any document under the known keys is read or refused, in one printable line."""
        try:
            parse(yaml.safe_dump(document, allow_unicode=True), "x.yml")
        except ConfigError as error:
            assert str(error).startswith("x.yml:")
            assert "\n" not in str(error)

    @given(st.text())
    def test_any_text(self, text: str) -> None:
        """Any text is read or refused."""
        try:
            parse(text, "x.yml")
        except ConfigError as error:
            assert str(error).startswith("x.yml:")
