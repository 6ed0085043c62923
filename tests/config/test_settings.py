"""Defaults, sections and files; errors name the key and the allowed values."""

import json
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import fields

from postfix_mta_sts.config.address import TcpAddress
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
from tests.support.config import keys, refused


class TestDefaults:
    """The defaults."""

    @pytest.mark.parametrize("text", ["", "# nothing\n", "{}", "https:\nlisten:\nmaps:\n", "---\n"])
    def test_empty_file(self, text: str) -> None:
        """An empty file and empty sections give the defaults."""
        assert parse(text, "x.yml") == Settings()

    def test_values(self) -> None:
        """The defaults are those that the project has documented."""
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


class TestMaps:
    """The map names."""

    def test_added_to_the_defaults(self) -> None:
        """New map names are added; a built-in name is replaced."""
        maps = parse("maps: {mine: {servername: false}, QUERYwithTLSRPT: , 1: {}}", "x").maps
        assert maps == {
            "postfix": MapSettings(),
            "QUERY": MapSettings(),
            "QUERYwithTLSRPT": MapSettings(),
            "mine": MapSettings(servername=False),
            "1": MapSettings(),
        }

    @pytest.mark.parametrize("name", ["a b", "", "ü", "a\n"])
    def test_invalid_map_name(self, name: str) -> None:
        """A name that a request cannot contain is refused."""
        error = refused(f"\nmaps: {{{json.dumps(name)}: {{}}}}")
        assert error == (
            f"x.yml:2: maps: found {name!r};"
            " allowed: 1 to 100 printable ASCII characters, no spaces"
        )


class TestShape:
    """Keys and sections."""

    @pytest.mark.parametrize(
        ("text", "error"),
        [
            ("- 1", "x.yml:1: found a list; allowed: the keys listen, maps, cache, lookup, dns, "),
            ("hello", "x.yml:1: found 'hello'; allowed: the keys listen, "),
            ("log: 3", "x.yml:1: log: found 3; allowed: the keys level, format"),
            ("maps: [a]", "x.yml:1: maps: found a list; allowed: map names with their settings"),
            ("maps: {a: {b: 1}}", "x.yml:1: maps.a.b: unknown key; allowed: tlsrpt, servername, "),
            ("maps: {'a.b': 1}", "x.yml:1: maps.'a.b': found 1; allowed: the keys tlsrpt, "),
            ("\nlsten: 1", "x.yml:2: lsten: unknown key, perhaps listen; allowed: listen, maps, "),
            ("log:\n  levle: info", "x.yml:2: log.levle: unknown key, perhaps level; allowed: "),
            ("listen: {a: 1}", "x.yml:1: listen: found a mapping; allowed: a list"),
            ("listen: [{x: 1}]", "x.yml:1: listen[0].x: unknown key; allowed: socketmap, "),
            ("log: {}\nlog: {}", "x.yml:2: duplicate key 'log'; it is already set in line 1"),
            ("a: b: c", "x.yml:1: not YAML: mapping values are not allowed here"),
        ],
    )
    def test_refused(self, text: str, error: str) -> None:
        """An error names the path of the key, and what is allowed there."""
        assert refused(text).startswith(error)


class TestLoad:
    """Files."""

    def test_file(self, tmp_path: Path) -> None:
        """A file is read as UTF-8."""
        path = tmp_path / "x.yml"
        path.write_text("log: {level: error}  # ü", "utf-8")
        assert load(path).log.level == "error"

    def test_error_names_the_file(self, tmp_path: Path) -> None:
        """An error names the file."""
        path = tmp_path / "x.yml"
        path.write_text("log: 1", "utf-8")
        with pytest.raises(ConfigError, match=rf"^{re.escape(str(path))}:1: log: found 1"):
            load(path)

    def test_missing_file(self, tmp_path: Path) -> None:
        """A missing file is an error, and not an empty configuration."""
        with pytest.raises(
            ConfigError, match=r"x\.yml: cannot be read: No such file or directory$"
        ):
            load(tmp_path / "x.yml")

    def test_not_utf8(self, tmp_path: Path) -> None:
        """A file in another encoding is refused."""
        path = tmp_path / "x.yml"
        path.write_bytes(b"log: \xff")
        with pytest.raises(ConfigError, match=r"byte 0xFF in line 1, column 6 is not UTF-8; save "):
            load(path)


class TestDefaultCachePath:
    """The path of the store if the configuration does not set it."""

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
        """The state directory of systemd comes first, then that of the user."""
        assert default_cache_path(environ) == Path(path)

    def test_empty_environment(self) -> None:
        """Without variables the home folder of the user is used."""
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
    """Any text."""

    @given(st.dictionaries(st.sampled_from([f.name for f in fields(Settings)]), _junk))
    def test_any_values(self, document: dict[str, object]) -> None:
        """Any values of known keys are accepted, or refused with an error of one line."""
        try:
            parse(yaml.safe_dump(document, allow_unicode=True), "x.yml")
        except ConfigError as error:
            assert str(error).startswith("x.yml:")
            assert "\n" not in str(error)

    @given(st.text())
    def test_any_text(self, text: str) -> None:
        """Any text is accepted or refused."""
        try:
            parse(text, "x.yml")
        except ConfigError as error:
            assert str(error).startswith("x.yml:")
