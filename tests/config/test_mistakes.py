"""Common mistakes, and the words that the refusal must have: what is wrong, where, what to write.

Not each mistake has a guess of its own; but each refusal says where it is and what is allowed.
"""

from typing import Final

import pytest

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
    # YAML
    "log:\n\tlevel: info": ["x.yml:2", "indent with spaces instead of tabs"],
    "log:\n  level: info\n format: json": ["x.yml:3", "check the indentation"],
    "https: {proxy: 'http://a:1}": ["quote is missing"],
    "cache: {path: a: b}": ["x.yml:1"],
    "https: {proxy: @proxy}": ["write the value in quotes"],
    "log: {level: info": ["x.yml:1", "not YAML"],
    "---\nlog: {}\n---\ndns: {}": ["x.yml:4", "one document, without ---"],
    "cache: !path /x": ["tags (!) are not supported", "write the value itself"],
    # shapes
    "log: debug": ["log", "found 'debug'", "the keys level, format"],
    "listen: 127.0.0.1:8461": ["listen", "found '127.0.0.1:8461'", "a list"],
    "listen: {socketmap: 'a:1'}": ["listen", "found a mapping", "a list"],
    "dns: {nameservers: 192.0.2.1}": ["dns.nameservers", "a list", "write [192.0.2.1]"],
    "https: {timeout: [5s]}": ["https.timeout", "found a list", "write 5s"],
    "maps: [strict]": ["maps", "found a list", "map names with their settings"],
    # switches and words
    "dns: {trust_ad: yes}": ["dns.trust_ad", "found 'yes'", "true or false", "write true"],
    "dns: {trust_ad: off}": ["found 'off'", "write false"],
    "dns: {trust_ad: 1}": ["found 1", "write true"],
    "dane: {mode: true}": ["dane.mode", "found true", "write on"],
    "log: {level: WARN}": ["log.level", "found 'WARN'", "write warning"],
    "log: {format: JSON}": ["log.format", "write json"],
    "dane: {answer: dane_only}": ["dane.answer", "write dane-only"],
    "dns: {on_failure: tempfail}": ["dns.on_failure", "deliver or defer", "write defer"],
    # durations, sizes, numbers
    "https: {timeout: 10 s}": ["https.timeout", "found '10 s'", "write 10s"],
    "https: {timeout: 500ms}": ["found '500ms'", "write 0.5s"],
    "https: {timeout: 5min}": ["found '5min'", "write 5m"],
    "refresh: {idle_after: 2w}": ["found '2w'", "write 1209600s"],
    "refresh: {idle_after: 1h30m}": ["found '1h30m'", "write 5400s"],
    "lookup: {timeout: 5m}": ["lookup.timeout", "out of range", "from 0.001s to 90s"],
    "cache: {memory: 64MB}": ["cache.memory", "found '64MB'", "write 64MiB"],
    "cache: {file_size: 1.5 GiB}": ["cache.file_size", "write 1536MiB"],
    "cache: {memory: 64}": ["cache.memory", "out of range", "from 4MiB to 1024GiB"],
    "https: {concurrency: '200'}": ["https.concurrency", "a whole number from 1 to 10000"],
    # addresses, files, modes
    "listen: [{socketmap: 8461}]": ["listen[0].socketmap", "found 8461", "write 127.0.0.1:8461"],
    "listen: [{socketmap: inet:127.0.0.1:8461}]": ["write 127.0.0.1:8461"],
    "listen: [{socketmap: '::1:8461'}]": ["found '::1:8461'", "write [::1]:8461"],
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
    "dns: {nameservers: [::1]}": ["x.yml:1", "write the value in quotes"],
    "listen: [{socketmap: '[::1]'}]": ["write [::1]:8461"],
    "dns: {nameservers: ['192.0.2.1#53']}": ["found '192.0.2.1#53'", "write 192.0.2.1:53"],
    "https: {proxy: proxy.example:3128}": ["https.proxy", "write http://proxy.example:3128"],
    "https: {ca_file: /no/such}": ["https.ca_file", "No such file", "a readable PEM file"],
}


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


def test_a_password_is_not_shown() -> None:
    """A password before an @ is neither shown nor proposed."""
    with pytest.raises(ConfigError) as caught:
        load(None, {"POSTFIX_MTA_STS__HTTPS__PROXY": "user:secret@proxy:3128"})
    assert "secret" not in str(caught.value)
