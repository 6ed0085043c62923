"""Single values: which are read, and the error text for the others."""

from pathlib import Path

import pytest

from postfix_mta_sts.config.settings import (
    CacheSettings,
    DaneSettings,
    DnsSettings,
    HttpsSettings,
    LogSettings,
    parse,
)
from tests.support.config import refused
from tests.support.tls import Authority


class TestDurations:
    """Durations."""

    @pytest.mark.parametrize(
        ("written", "seconds"),
        [("1", 1), ("0.5", 0.5), ("'2'", 2), ("30s", 30), ("1.5m", 90), ("0.001s", 0.001)],
    )
    def test_read(self, written: str, seconds: float) -> None:
        """A duration is a number of seconds, or a number with a unit."""
        assert parse(f"lookup: {{timeout: {written}}}", "x").lookup.timeout == seconds

    def test_units(self) -> None:
        """Hours and days are units too."""
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
        """The error for a wrong duration names the allowed forms and limits."""
        error = refused(f"lookup:\n  timeout: {written}")
        assert error.startswith("x.yml:2: lookup.timeout: found ")
        assert "; allowed: a number of seconds, or 30s, 5m, 1h, 30d, from 0.001s to 90s" in error


class TestSizes:
    """Sizes."""

    @pytest.mark.parametrize(
        ("written", "size"),
        [("1048576", 2**20), ("'2097152'", 2**21), ("2048KiB", 2**21), ("3MiB", 3 * 2**20)],
    )
    def test_read(self, written: str, size: int) -> None:
        """A size is a number of bytes, or a number with a unit."""
        assert parse(f"cache: {{file_size: {written}}}", "x").cache.file_size == size

    @pytest.mark.parametrize(
        "written", ["0", "-1", "1KiB", "1025GiB", "1GB", "1.5GiB", "1 GiB", "true", "null", "[1]"]
    )
    def test_refused(self, written: str) -> None:
        """The error for a wrong size names the allowed forms and limits."""
        error = refused(f"cache:\n  file_size: {written}")
        assert error.startswith("x.yml:2: cache.file_size: found ")
        assert "; allowed: a number of bytes, or 512KiB, 64MiB, 1GiB, from 1MiB to 1024GiB" in error


class TestValues:
    """The other types."""

    def test_read(self, tmp_path: Path) -> None:
        """Allowed values are read."""
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
        ("written", "prefixes"),
        [
            ("[]", ()),
            ("[10.0.0.0/8, 'fd00::/8']", ("10.0.0.0/8", "fd00::/8")),
            ("[192.0.2.1, FD00:0::1]", ("192.0.2.1/32", "fd00::1/128")),
        ],
    )
    def test_prefixes(self, written: str, prefixes: tuple[str, ...]) -> None:
        """Prefixes are read into their usual notation; an address is a prefix of its own."""
        https = parse(f"https: {{allow_private_addresses: {written}}}", "x").https
        assert https.allow_private_addresses == prefixes

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
            ("https", "allow_private_addresses", "yes", "found 'yes'; allowed: true, false"),
            ("https", "allow_private_addresses", "", "found nothing; allowed: true, false, or a"),
            (
                "https",
                "allow_private_addresses",
                "10.0.0.0/8",
                "found '10.0.0.0/8': write [10.0.0.0/8] for this prefix; allowed: true, false, or",
            ),
            (
                "https",
                "allow_private_addresses",
                "[fd00::/8, 10.0.0.1/8]",
                "found a list: 10.0.0.1/8 has bits after the prefix, write 10.0.0.0/8; allowed: ",
            ),
            ("https", "allow_private_addresses", "[a/8]", "found a list: 'a/8' is not a prefix; "),
            ("https", "allow_private_addresses", "['fe80::1%1']", "'fe80::1%1' is not a prefix"),
            ("https", "allow_private_addresses", "[1]", "found a list; allowed: true, false"),
            (
                "https",
                "ca_file",
                "/no/such",
                "found '/no/such': No such file or directory; allowed: ",
            ),
            ("https", "ca_file", __file__, ": it contains no certificate in PEM format; allowed: "),
            ("https", "proxy", "socks5://a:1", "found 'socks5://a:1'; allowed: http://host:port"),
            ("https", "proxy", "http://a:0", "found 'http://a:0'; allowed: http://host:port"),
            ("https", "proxy", "http://", "found 'http://'; allowed: http://host:port"),
            ("https", "proxy", "'http://a b'", "found 'http://a b'; allowed: http://host:port"),
            ("https", "proxy", "http://a:x", "allowed: http://host:port, or null"),
            ("https", "proxy", "http://a/b", ": only a host and a port are supported; allowed: "),
            ("https", "proxy", "{a: 1}", "found a mapping; allowed: http://host:port, or null"),
            ("log", "level", "INFO", "found 'INFO'; allowed: debug, info, warning or error"),
            ("log", "format", "[text]", "found a list; allowed: text or json"),
        ],
    )
    def test_refused(self, section: str, key: str, written: str, rest: str) -> None:
        """An error names the line, the key, the value and the allowed values."""
        error = refused(f"{section}:\n  {key}: {written}\n")
        assert error.startswith(f"x.yml:2: {section}.{key}: found ")
        assert rest in error

    @pytest.mark.parametrize(
        "written",
        [
            *("dns.test", "dns.test:53", "192.0.2.1:0", "", "1.1"),
            *("fe80::1%", "fe80::1%a:53", "[fe80::1%eth0]", "[fe80::1]%eth0:53", "fe80::1%a/b"),
            "fe80::1%sixteen-letters-",
        ],
    )
    def test_invalid_nameserver(self, written: str) -> None:
        """A name server is an IP address: a host name would need another name server."""
        error = refused(f"dns: {{nameservers: [192.0.2.1, '{written}']}}")
        assert error.startswith(
            f"x.yml:1: dns.nameservers[1]: found '{written}'; allowed: 192.0.2.1,"
        )

    @pytest.mark.parametrize(
        "written", ["fe80::1", "fe80::1%eth0", "FE80::1%2", "[fe80::1%br-0.1]:5353"]
    )
    def test_zone_of_a_nameserver(self, written: str) -> None:
        """A link-local name server may have a zone, with or without a port."""
        assert parse(f"dns: {{nameservers: ['{written}']}}", "x").dns.nameservers == (written,)

    @pytest.mark.parametrize("written", ["2001:db8::1%eth0", "192.0.2.1%eth0", "[::1%lo]:53"])
    def test_zone_of_another_address(self, written: str) -> None:
        """Other addresses have none."""
        error = refused(f"dns: {{nameservers: ['{written}']}}")
        assert f"found '{written}': only a link-local address (fe80::/10) has a zone; " in error

    def test_port_of_a_nameserver(self) -> None:
        """What is wrong with a port is named."""
        error = refused("dns: {nameservers: ['192.0.2.1:99999']}")
        expected = "x.yml:1: dns.nameservers[0]: found '192.0.2.1:99999': a port is at most 65535;"
        assert error.startswith(expected)

    def test_password_is_not_shown(self) -> None:
        """The error for a wrong proxy URL does not contain its password."""
        assert "secret" not in refused("https: {proxy: 'http://u:secret@h:0'}")

    def test_long_value_is_cut(self) -> None:
        """The error shows only the beginning of a long value."""
        assert len(refused(f"log: {{level: {'x' * 5000}}}")) < 200
