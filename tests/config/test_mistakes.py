"""Common mistakes, and the words that the refusal must have: what is wrong, where, what to write.

Not each mistake has a guess of its own; but each refusal says where it is and what is allowed.
"""

from typing import Final

import pytest

from postfix_mta_sts.config.misspelt import misspelt
from postfix_mta_sts.config.settings import ConfigError, load, parse

MISTAKES: Final[dict[str, list[str]]] = {
    # keys
    "htps: {timeout: 5s}": ["x.yml:1", "htps", "unknown key", "perhaps https"],
    "log:\n  levle: info": ["x.yml:2", "log.levle", "perhaps level"],
    "https: {time-out: 5s}": ["https.time-out", "perhaps timeout"],
    "https: {Timeout: 5s}": ["https.Timeout", "perhaps timeout"],
    "timeout: 5s": ["timeout", "perhaps lookup.timeout or dns.timeout or https.timeout"],
    "level: debug": ["level", "perhaps log.level"],
    "nameserver: [192.0.2.1]": ["nameserver", "perhaps dns.nameservers"],
    "listen: [{address: 'a:1'}]": ["listen[0].address", "allowed: socketmap, tcp_table"],
    "listen: [{socket_map: 'a:1'}]": ["listen[0].socket_map", "perhaps socketmap"],
    "log: {level: info}\nlog: {format: json}": ["x.yml:2", "'log'", "already set in line 1"],
    "dns:timeout: 5s": ["dns:timeout", "write a space after the colon"],
    "log.level: debug": ["'log.level'", "perhaps log.level", "write level below log"],
    "log_level: debug": ["perhaps log.level", "write level below log"],
    "log:\n \u00a0level: info": ["x.yml:2", "U+00A0", "type it again"],
    "verbose: 1": ["verbose", "write log: {level: debug}"],
    "metrics: {port: 9090}": ["metrics.port", "write listen: host:port"],
    "https: {verify: false}": ["https.verify", "certificates are always verified"],
    "listen: [{socketmap: 'a:1', map: postfix}]": ["listen[0].map", "remove it", "see maps"],
    "domains: {a.test: {}}": ["domains", "write exceptions: {example.com: {use: may, reason: "],
    # YAML
    "log:\n\tlevel: info": ["x.yml:2", "indent with spaces instead of tabs"],
    "log:\n  level: info\n format: json": ["x.yml:3", "check the indentation"],
    "https: {proxy: 'http://a:1}": ["quote is missing"],
    "cache: {path: a: b}": ["x.yml:1"],
    "https: {proxy: @proxy}": ["write the value in quotes"],
    "log: {level: info": ["x.yml:1", "not YAML"],
    "---\nlog: {}\n---\ndns: {}": ["x.yml:4", "one document, without ---"],
    "log: {level: info}}": ["x.yml:1", "column 19", "a bracket is too many"],
    "dns: {nameservers: [::1]}": ["x.yml:1", "column 21", "write the value in quotes"],
    "[log]\nlevel = info": ["x.yml:2", "write a colon after each key"],
    'cache: {path: "C:\\x"}': ["x.yml:1", "column 20", "or the value in single quotes"],
    "log: &x {level: info}\ndns: *x": ["x.yml:2", "aliases (*)", "write the value itself"],
    "cache: !path /x": ["tags (!) are not supported", "write the value itself"],
    # shapes
    "- log": ["x.yml:1", "found a list", "the keys listen, maps", "without -"],
    "log: debug": ["log", "found 'debug'", "the keys level, format", "write {level: debug}"],
    "log:\n  level:info": ["found 'level:info'", "write level: info"],
    "log:\n  - level: info": ["log", "found a list", "write the keys without -"],
    "cache: /x": ["found '/x'", "write {path: /x}"],
    "listen: 127.0.0.1:8461": ["listen", "found '127.0.0.1:8461'", "[{socketmap: 127.0.0.1:8461}]"],
    "listen: [8461]": ["listen[0]", "found 8461", "write {socketmap: 127.0.0.1:8461}"],
    "listen: {socketmap: 'a:1'}": ["listen", "found a mapping", "a list", "- before socketmap"],
    "listen: []": ["listen", "at least one", "write [{socketmap: 127.0.0.1:8461}]"],
    "dns:\n  nameservers:\n  - 192.0.2.1\n   - 192.0.2.2": ["check the indentation of the list"],
    "dns: {nameservers: 192.0.2.1}": ["dns.nameservers", "a list", "write [192.0.2.1]"],
    "https: {timeout: [5s]}": ["https.timeout", "found a list", "write 5s"],
    "maps: [strict]": ["maps", "found a list", "map names with their settings"],
    # exceptions
    "exceptions: [a.test]": ["exceptions", "found a list", "a domain like", "with its settings"],
    "exceptions: {a.test: ignore}": ["exceptions.'a.test'", "'ignore'", "write {use: ignore}"],
    "exceptions:\n  *.a.test: {use: may}": ["x.yml:2", "write what begins with * in quotes"],
    "exceptions:\n  *test: {use: may}": ["x.yml:2", "write what begins with * in quotes"],
    "exceptions: {a.test: {mx: [*]}}": ["x.yml:1", "write what begins with * in quotes"],
    "exceptions: {a.test: {use: may, untl: 2026-12-31}}": ["'a.test'.untl", "perhaps until"],
    "exceptions: {a.test: {use: may}}": ["exceptions.'a.test'.reason", "missing", "why"],
    "exceptions:\n a.test:\n": ["x.yml:2", "exceptions.'a.test'.use", "missing", "ignore, may"],
    "exceptions: {a.test: {use: allow, reason: x}}": ["found 'allow'", "ignore, may, encrypt"],
    "exceptions: {a.test: {use: may, reason: x}}": ["'a.test'.until", "date, or forever: true"],
    "exceptions: {a.test: {use: may, reason: ''}}": ["'a.test'.reason", "why, and a contact"],
    f"exceptions: {{a.test: {{reason: {'x' * 201}}}}}": ["'a.test'.reason", "201", "at most 200"],
    "exceptions: {a.test: {until: 3d}}": ["'a.test'.until", "found '3d'", "write the day on which"],
    "exceptions: {a.test: {until: 31.12.2026}}": ["found '31.12.2026'", "write 2026-12-31"],
    "exceptions: {a.test: {until: 20261231}}": ["found 20261231", "write 2026-12-31"],
    "exceptions: {a.test: {until: 2026-02-30}}": ["there is no such day", "like 2026-12-31"],
    "exceptions: {a.test: {until: 2026}}": ["found 2026", "a date like 2026-12-31"],
    "exceptions: {a.test: {use: may, reason: x, until: 2026-12-31, forever: true}}": [
        "exceptions.'a.test'.forever",
        "until is given, too; write one of them",
    ],
    "exceptions: {a.test: {use: pin, reason: x, forever: true}}": ["pin needs mx"],
    "exceptions: {a.test: {use: may, reason: x, forever: true, mx: [a.test]}}": ["mx is for pin"],
    "exceptions: {a.test: {mx: a.test}}": ["'a.test'.mx", "a list", "write [a.test]"],
    "exceptions: {a.test: {mx: [a b]}}": ["'a.test'.mx[0]", "found 'a b'", "mx1.example.com"],
    "exceptions: {a.test: {use: enforce, reason: x, forever: true, dane: ignore}}": [
        "exceptions.'a.test'.use",
        "only may and encrypt",
    ],
    "exceptions: {com: {use: may, reason: x, forever: true}}": ["found 'com'", "one label"],
    "exceptions: {192.0.2.1: {use: may, reason: x, forever: true}}": ["an IP address"],
    "exceptions: {'*.com': {use: may, reason: x, forever: true}}": [
        "exceptions.'*.com'",
        "write anyway: true if that is meant",
    ],
    "exceptions: {ü.test: {use: may, reason: x, forever: true}, XN--TDA.test.: "
    "{use: may, reason: x, forever: true}}": ["'XN--TDA.test.'", "the same domain as 'ü.test'"],
    # trial, alerts
    "trial: yes": ["trial", "found 'yes'", "true, false, or the keys", "{enabled: true}"],
    "trial: 6h": ["trial", "found '6h'", "write {every: 6h}"],
    "trial: {evry: 6h}": ["trial.evry", "perhaps every"],
    "trial: {every: 1s}": ["trial.every", "out of range", "from 1m to 30d"],
    "maps: {a: {trial: on}}": ["maps.a.trial", "found 'on'", "write true"],
    "checks: true": ["checks", "found true", "the keys exceptions"],
    "alerts: /bin/true": ["alerts", "found '/bin/true'", "write {command: /bin/true}"],
    "alerts: {command: sh -c x}": ["alerts.command", "the whole path of sh, /"],
    "alerts: {command: '/bin/true \"x'}": ["alerts.command", "no closing quotation"],
    "alerts: {command: /bin/cat >> /x}": ["alerts.command", ">> needs a shell", "[/bin/sh, -c, "],
    "exceptions: {a.test: {until: forever}}": ["found 'forever'", "write forever: true in"],
    "exceptions: {a.test: {reason: [x]}}": [
        "'a.test'.reason: found a list",
        "why, and a contact; write x (",
    ],
    # switches and words
    "dns: {trust_ad: yes}": ["dns.trust_ad", "found 'yes'", "true or false", "write true"],
    "dns: {trust_ad: off}": ["found 'off'", "write false"],
    "dns: {trust_ad: 1}": ["found 1", "write true"],
    "dane: {mode: true}": ["dane.mode", "found true", "write on"],
    "log: {level: WARN}": ["log.level", "found 'WARN'", "write warning"],
    "log: {format: JSON}": ["log.format", "write json"],
    "dane: {answer: dane_only}": ["dane.answer", "write dane-only"],
    "dns: {on_failure: tempfail}": ["dns.on_failure", "deliver or defer", "write defer"],
    "log: {level: \u201cinfo\u201d}": ["log.level", "write info"],
    "log: {level: info#x}": ["log.level", "write info"],
    "https: {proxy: none}": ["https.proxy", "write null"],
    # durations, sizes, numbers
    "https: {timeout: 10 s}": ["https.timeout", "found '10 s'", "write 10s"],
    "https: {timeout: 500 ms}": ["found '500 ms'", "write 0.5s"],
    "https: {timeout: 5min}": ["found '5min'", "write 5m"],
    "refresh: {idle_after: 2w}": ["found '2w'", "write 1209600s"],
    "refresh: {idle_after: 1h30m}": ["found '1h30m'", "write 5400s"],
    "lookup: {timeout: 5m}": ["lookup.timeout", "out of range", "from 0.001s to 90s"],
    "cache: {memory: 64MB}": ["cache.memory", "found '64MB'", "write 64MiB"],
    "cache: {file_size: 1.5 GiB}": ["cache.file_size", "write 1536MiB"],
    "cache: {memory: 64}": ["cache.memory", "out of range", "from 4MiB to 1024GiB"],
    "https: {concurrency: '200'}": [
        "https.concurrency",
        "a whole number from 1 to 10000",
        "write 200",
    ],
    "cache: {memory_entries: 100k}": ["found '100k'", "write 100000"],
    "https: {timeout: 10 minutes}": ["found '10 minutes'", "write 10m"],
    # addresses, files, modes
    "listen: [{socketmap: 8461}]": ["listen[0].socketmap", "found 8461", "write 127.0.0.1:8461"],
    "listen: [{socketmap: inet:127.0.0.1:8461}]": ["write 127.0.0.1:8461"],
    "listen: [{socketmap: '::1:8461'}]": ["found '::1:8461'", "write [::1]:8461"],
    "listen: [{socketmap: '::1'}]": ["found '::1'", "write [::1]:8461"],
    "listen: [{socketmap: 8461:tcp}]": ["found '8461:tcp'", "write 127.0.0.1:8461"],
    "listen: [{socketmap: '127.0.0.1:70000'}]": ["a port is at most 65535"],
    "listen: [{socketmap: 'inet:127.0.0.1:8461:postfix'}]": ["write 127.0.0.1:8461"],
    "listen: [{socketmap: 'a:1,b:1'}]": ["write an item for each of them"],
    "listen: [{socketmap: '[fe80::1%eth0]:1'}]": ["a zone (%) is not supported"],
    "listen: [{socketmap: '*:8461'}]": ["found '*:8461'", "write 0.0.0.0:8461"],
    "listen: [{socketmap: /run/s}]": ["found '/run/s'", "write unix:/run/s"],
    "listen: [{socketmap: unix:run/s}]": ["the path is not absolute", "write unix:/run/s"],
    "listen: [{socketmap: 'unix:/s', mode: 0o660}]": ["mode", "found '0o660'", "write 0660"],
    "listen: [{socketmap: 'unix:/s', mode: rw-rw----}]": ["found 'rw-rw----'", "write 0660"],
    "listen: [{socketmap: 'a:1', mode: '0660'}]": ["listen[0].mode", "only for a UNIX socket"],
    "metrics: {listen: '127.0.0.1:8461'}": ["metrics", "127.0.0.1:8461 is given twice"],
    "dns: {nameservers: [dns.example]}": ["dns.nameservers[0]", "allowed: 192.0.2.1"],
    "dns: {nameservers: ['[2001:db8::1]']}": ["found '[2001:db8::1]'", "write 2001:db8::1\n"],
    "dns: {nameservers: ['192.0.2.1 ']}": ["found '192.0.2.1 '", "write 192.0.2.1\n"],
    "listen: [{socketmap: '[::1]'}]": ["write [::1]:8461"],
    "dns: {nameservers: ['192.0.2.1#53']}": ["found '192.0.2.1#53'", "write 192.0.2.1:53"],
    "https: {proxy: proxy.example:3128}": ["https.proxy", "write http://proxy.example:3128"],
    "https: {ca_file: /no/such}": ["https.ca_file", "No such file", "a readable PEM file"],
    "https: {ca_file: ca.pem}": ["https.ca_file", "which begins with /"],
    "https: {ca_file: /etc}": ["https.ca_file", "it is a folder", "name a file"],
    "https: {allow_private_addresses: [10.1.2.3/8]}": ["bits after the prefix", "10.0.0.0/8"],
}
OLD: Final = """
host: 127.0.0.1
port: 8461
cache: {type: sqlite, options: {filename: /var/lib/mta-sts/cache.db}}
default_zone: {strict_testing: false, timeout: 4}
"""


@pytest.mark.parametrize("text", MISTAKES)
def test_words(text: str) -> None:
    """The refusal has the words."""
    with pytest.raises(ConfigError) as caught:
        parse(text, "x.yml")
    refusal = f"{caught.value}\n"
    assert [words for words in MISTAKES[text] if words not in refusal] == [], refusal


def test_all_errors_at_once() -> None:
    """Every error that does not depend on another one is named, in the order of the lines."""
    text = "log:\n  level: loud\n  x: 1\nlisten: [{socketmap: a}, {tcp_table: b}]\nmaps: {a: 1}\n"
    with pytest.raises(ConfigError) as caught:
        parse(text, "x.yml", {"POSTFIX_MTA_STS__DNS__TIMEOUT": "soon"})
    starts = [
        error.partition(": found")[0].partition(": unknown")[0] for error in caught.value.errors
    ]
    assert starts == [
        "x.yml:2: log.level",
        "x.yml:3: log.x",
        "x.yml:4: listen[0].socketmap",
        "x.yml:4: listen[1].tcp_table",
        "x.yml:5: maps.a",
        "POSTFIX_MTA_STS__DNS__TIMEOUT: dns.timeout",
    ]
    assert str(caught.value).endswith("(5 more: see check-config)")


@pytest.mark.parametrize(
    ("text", "program", "lines"),
    [(OLD, "postfix-mta-sts-resolver", 6), ("server: {address: 'a:1'}", "postfix-tlspol", 2)],
)
def test_the_file_of_another_program(text: str, program: str, lines: int) -> None:
    """The other program and the page about it are named, and each key has what replaces it."""
    with pytest.raises(ConfigError) as caught:
        parse(text, "x.yml")
    first, *others = caught.value.errors
    assert (
        first
        == f"x.yml:1: this is the file of {program}; see docs/migrating.md, which has its keys"
    )
    assert len(others) == lines - 1
    assert all("unknown key; write" in line or "; remove it" in line for line in others), others


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("POSTFIX_MTA_STS_LOG_LEVEL", "POSTFIX_MTA_STS__LOG__LEVEL"),
        ("POSTFIX_MTA_STS_HTTPS__CA_FILE", "POSTFIX_MTA_STS__HTTPS__CA_FILE"),
        ("postfix_mta_sts__log__level", "POSTFIX_MTA_STS__LOG__LEVEL"),
        ("MTASTS_LISTEN", "POSTFIX_MTA_STS__LISTEN"),
        ("POSTFIX_MTA_STS_TRIAL", "POSTFIX_MTA_STS__TRIAL"),
        ("POSTFIX_MTA_STS_PORT", None),
        ("POSTFIX_MTA_STS_PORT_8461_TCP_ADDR", None),
        ("POSTFIX_MTA_STS__LOG__LEVEL", None),
        ("LOG_LEVEL", None),
    ],
)
def test_variables_without_effect(name: str, meant: str | None) -> None:
    """A variable with a name that is nearly right is found; those of Kubernetes are not meant."""
    assert list(misspelt({name: "x"})) == ([(name, meant)] if meant else [])


def test_one_underscore_too_few() -> None:
    """An unknown key of a variable says how the name is written."""
    with pytest.raises(ConfigError, match=r"perhaps log\.level; write LOG__LEVEL, with two und"):
        load(None, {"POSTFIX_MTA_STS__LOG_LEVEL": "debug"})


def test_a_password_is_not_shown() -> None:
    """A password before an @ is neither shown nor proposed."""
    with pytest.raises(ConfigError) as caught:
        load(None, {"POSTFIX_MTA_STS__HTTPS__PROXY": "user:secret@proxy:3128"})
    assert "secret" not in str(caught.value)
