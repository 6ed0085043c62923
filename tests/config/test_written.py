"""Settings in the notation of the file, and where each comes from."""

import re

import yaml

from postfix_mta_sts.config.dates import until_text
from postfix_mta_sts.config.origins import DEFAULT, Origins
from postfix_mta_sts.config.settings import Settings, parse
from postfix_mta_sts.config.written import lines

TEXT = """
listen:
  - socketmap: unix:/run/s
    mode: "0660"
    group: 33
  - tcp_table: 127.0.0.1:8462
maps: {strict: {enforce_testing: true}}
cache: {memory: 100000000, file_size: 2GiB}
dns: {nameservers: [192.0.2.1, "[2001:db8::1]:53"], timeout: 0.5s}
https: {timeout: 90s, proxy: "http://u:secret@p.test:3128"}
refresh: {idle_after: 2d}
exceptions:
  a.test: {use: may, reason: "ticket: 1", until: 2026-12-31}
  "*.a.test": {use: pin, reason: x, until: 2026-12-31T18:00Z, mx: [mx.a.test, "*.a.test"]}
alerts: {command: ["/bin/echo", "a, b", "-n"]}
"""


def test_values() -> None:
    """Each value is written as a file writes it; a password is left out."""
    written = dict(lines(parse(TEXT, "x")))
    assert {key: value for key, value in written.items() if value != dict(
        lines(Settings())
    ).get(key)} == {
        "listen[0].socketmap": "unix:/run/s",
        "listen[0].mode": '"0660"',
        "listen[0].group": "33",
        "listen[1].socketmap": "null",
        "listen[1].tcp_table": "127.0.0.1:8462",
        "listen[1].mode": "null",
        "listen[1].owner": "null",
        "listen[1].group": "null",
        "listen[1].tlsrpt": "false",
        "maps.strict.tlsrpt": "false",
        "maps.strict.servername": "true",
        "maps.strict.enforce_testing": "true",
        "maps.strict.trial": "null",
        "cache.memory": "100000000",
        "cache.file_size": "2GiB",
        "dns.nameservers": "[192.0.2.1, [2001:db8::1]:53]",
        "dns.timeout": "0.5s",
        "https.timeout": "90s",
        "https.proxy": "http://...@p.test:3128",
        "refresh.idle_after": "2d",
        "exceptions.a.test.use": "may",
        "exceptions.a.test.reason": '"ticket: 1"',
        "exceptions.a.test.until": "2026-12-31",
        "exceptions.a.test.forever": "false",
        "exceptions.a.test.mx": "[]",
        "exceptions.a.test.dane": "null",
        "exceptions.a.test.anyway": "false",
        "exceptions.*.a.test.use": "pin",
        "exceptions.*.a.test.reason": '"x"',
        "exceptions.*.a.test.until": until_text(1798740000.0),
        "exceptions.*.a.test.forever": "false",
        "exceptions.*.a.test.mx": '[mx.a.test, "*.a.test"]',
        "exceptions.*.a.test.dane": "null",
        "exceptions.*.a.test.anyway": "false",
        "alerts.command": '[/bin/echo, "a, b", "-n"]',
    }  # fmt: skip


def test_defaults_are_accepted_again() -> None:
    """The values of a section can be copied into a file."""
    document: dict[str, dict[str, object]] = {}
    for key, value in lines(Settings()):
        if found := re.fullmatch(r"([a-z]+)\.([a-z_]+)", key):
            document.setdefault(found[1], {})[found[2]] = yaml.load(value, yaml.BaseLoader)  # noqa: S506 (text only)
    text = yaml.safe_dump(document).replace("'", "")
    assert parse(text, "x") == Settings()


def test_origins() -> None:
    """A key comes from a line, a variable, or the defaults; a missing one is in its section."""
    origins = Origins(TEXT, "c.yml", {"POSTFIX_MTA_STS__HTTPS__TIMEOUT": "9s"})
    assert origins.of("listen[0].group") == "c.yml:5"
    assert origins.of("maps.strict.enforce_testing") == "c.yml:7"
    assert origins.of("https.timeout") == "POSTFIX_MTA_STS__HTTPS__TIMEOUT"
    assert origins.of("https.ca_file") == origins.of("log") == DEFAULT
    assert origins.nearest("listen[1].group") == "c.yml:6"
    assert origins.nearest("https.ca_file") == "c.yml:10"
    assert origins.nearest("log.level") == DEFAULT
    assert Origins("", "x", {}).of("log") == DEFAULT
