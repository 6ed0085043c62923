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
