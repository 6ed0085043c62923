"""`query DOMAIN`: the verdict in one sentence, what led to it, and the exit code.

Without a Postfix on this machine, unless a test gives it one; see `test_query_postfix.py`.
"""

import asyncio
import json
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import Commands
from tests.support.daemons import daemon
from tests.support.dns import Fault
from tests.support.internet import Internet
from tests.support.policy_host import ok, policy_text, reply
from tests.support.postfix_programs import hide_postfix
from tests.support.tls import EXPIRED

UNSAFE = re.compile(r"[^\n -~]")
"""Characters that can move the cursor of a terminal, or hide text."""
TLSRPT = "QUERYwithTLSRPT"
"""A map name whose replies have the attributes for TLS reports."""
SECURE = "OK secure match=mx1.good.test servername=hostname"


@pytest.fixture(autouse=True)
def no_postfix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """There is no Postfix, also on a machine that has one."""
    hide_postfix(monkeypatch, tmp_path)


async def test_enforce(commands: Commands, net: Internet, tmp_path: Path) -> None:
    """The verdict, what to do, a blank line, then each step; exit code 0."""
    net.publish("good.test", policy_id="20260101", ttl=77)
    done = await commands.query(net, tmp_path, "good.test")
    assert (done.code, done.err) == (0, "")
    assert done.lines[0] == (
        "Mail to good.test is delivered only to servers that are verified by its policy"
    )
    (advice,) = done.steps("do")
    assert "--smtp" in advice
    assert [number for number, line in enumerate(done.lines) if not line] == [2]
    assert not done.steps("fault")
    assert done.steps("record") == ['_mta-sts.good.test 77 TXT "v=STSv1; id=20260101;"']
    assert done.steps("id") == ["20260101"]
    assert done.steps("policy") == ["https://mta-sts.good.test/.well-known/mta-sts.txt"]
    assert done.steps("address") == ["127.0.0.1"]
    assert done.steps("TLS") == ["TLSv1.3"]
    assert done.steps("cert") == ["DNS:mta-sts.good.test"]
    (issuer,) = done.steps("issuer")
    assert issuer.startswith("Test CA; valid until ")
    assert done.steps("status") == ["200, text/plain, 67 bytes"]
    first = done.lines.index("         1| version: STSv1")
    assert done.lines[first + 1 : first + 4] == [
        "         2| mode: enforce",
        "         3| mx: mx1.good.test",
        "         4| max_age: 604800",
    ]
    assert done.steps("answer") == [SECURE]
    others = f"            in {TLSRPT}, tcp_table unix:{tmp_path}/tcp_table_tlsrpt: "
    (tlsrpt,) = (line for line in done.lines if line.startswith(others))
    assert f": {SECURE} policy_type=sts policy_domain=good.test " in tlsrpt
    assert done.steps("MX") == ["10 mx1.good.test 127.0.0.1, fits mx1.good.test"]
    assert not done.steps("failure")


async def queried(
    commands: Commands, net: Internet, folder: Path, domain: str = "good.test", *options: str
) -> dict[str, Any]:
    """The JSON of a query, which never fails; `exit_code` is that of the command, too."""
    done = await commands.query(net, folder, domain, "--json", *options)
    found: dict[str, Any] = json.loads(done.out)
    assert found["verdict"]["exit_code"] == done.code
    return found


async def test_json(commands: Commands, net: Internet, tmp_path: Path) -> None:
    """`--json` prints one object, with the same keys for every result."""
    net.publish("good.test")
    net.deliver_to("other.test")
    found = await queried(commands, net, tmp_path)
    absent = await queried(commands, net, tmp_path, "other.test")
    assert found.keys() == absent.keys()
    network = found["network"]
    assert network["record"] == {
        "name": "_mta-sts.good.test",
        "ttl": 300,
        "texts": ["v=STSv1; id=id1;"],
        "aliases": [],
        "reason": "",
    }
    policy = [network[name] for name in ("policy_id", "mode", "mx", "max_age")]
    assert policy == ["id1", "enforce", ["mx1.good.test"], 604800]
    assert network["body"] == policy_text().decode()
    assert network["fetch"]["status"] == 200
    assert network["fetch"]["certificate"]["names"] == ["DNS:mta-sts.good.test"]
    assert (found["reply"], found["source"]) == (SECURE, "network")
    assert network["error"] is None
    assert [absent["network"][name] for name in ("policy_id", "fetch", "body", "mode")] == [
        None
    ] * 4
    assert absent["network"]["error"] == "no-record"
    assert absent["reply"] == "NOTFOUND"
    assert dict(found["replies"]).keys() == dict(absent["replies"]).keys()
    assert dict(found["replies"])["postfix"] == SECURE
    assert set(dict(absent["replies"]).values()) == {"NOTFOUND"}
    not_asked: dict[str, object]
    not_asked = {
        "kind": None, "reason": "dane.mode is off", "mx_step": "", "hosts": [], "ttl": None,
    }  # fmt: skip
    assert found["dane"] == absent["dane"] == not_asked


@pytest.mark.parametrize(("mode", "code"), [("testing", 0), ("none", 1)])
async def test_not_enforced(
    commands: Commands, net: Internet, tmp_path: Path, mode: str, code: int
) -> None:
    """Mode testing is as it should be, mode none protects nothing; Postfix is told NOTFOUND."""
    net.publish("soft.test", ok(policy_text(mode, mx=["*.soft.test"])))
    done = await commands.query(net, tmp_path, "soft.test")
    assert done.code == code
    assert done.lines[0].endswith(
        f"its policy {'is in' if mode == 'testing' else 'has'} mode {mode}"
    )
    assert done.steps("answer") == ["NOTFOUND"]
    found = await queried(commands, net, tmp_path, "soft.test")
    assert set(dict(found["replies"]).values()) == {"NOTFOUND"}
    network = found["network"]
    assert [network[key] for key in ("mode", "mx", "max_age")] == [mode, ["*.soft.test"], 604800]


async def test_no_record(commands: Commands, net: Internet, tmp_path: Path) -> None:
    """For a domain without a record the exit code is 1, and no GET is sent."""
    net.deliver_to("other.test")
    done = await commands.query(net, tmp_path, "other.test")
    assert done.code == 1
    assert done.lines[0] == (
        "Mail to other.test is delivered without protection: it publishes no policy"
    )
    start = done.lines.index("") + 1
    assert [line.split()[0] for line in done.lines[start:]] == [
        "answer",
        "in",
        "daemon",
        "record",
        "DANE",
        "MX",
        "Postfix",
        "TLSRPT",
    ]
    assert done.steps("answer") == ["NOTFOUND"]
    assert done.steps("in force") == ["what the network says: the daemon does not run"]
    assert done.steps("record") == done.steps("TLSRPT") == ["none: NXDOMAIN"]
    assert done.steps("DANE") == ["not checked: dane.mode is off"]
    assert done.steps("MX") == ["10 mx1.other.test 127.0.0.1"]
    assert net.hosts.connections.total == 0


@pytest.mark.parametrize("text", ["v=STSv12; id=1;", "id=1; v=STSv1;"])
async def test_not_a_record(commands: Commands, net: Internet, tmp_path: Path, text: str) -> None:
    """What does not start with `v=STSv1;` is no record (RFC 8461 §3.1, E3); its error is named."""
    net.deliver_to("odd.test")
    net.record("odd.test", text)
    done = await commands.query(net, tmp_path, "odd.test")
    assert done.code == 1
    assert done.lines[0].startswith("Mail to odd.test is delivered without protection: ")
    assert done.steps("fault") == ["theirs"]
    assert done.steps("mistake")


async def test_no_such_domain(commands: Commands, net: Internet, tmp_path: Path) -> None:
    """Mail for a name that does not exist is returned; exit code 2."""
    done = await commands.query(net, tmp_path, "nowhere.test")
    assert done.code == 2
    assert done.lines[0] == (
        "Mail to nowhere.test is returned to its sender: the domain does not exist"
    )
    assert not done.steps("fault")


async def test_dane(commands: Commands, net: Internet, tmp_path: Path) -> None:
    """If DANE is on, its verdict is a step, and overrides the policy."""
    net.publish("good.test")
    net.vouch("good.test")
    config = net.config(tmp_path, {"dane": {"mode": "on"}})
    done = await asyncio.to_thread(commands.run, "query", "good.test", "--config", config)
    step = "TLSA of _25._tcp.mx1.good.test: 1 found, signed, 1 usable"
    assert (
        done.lines[0] == "Mail to good.test is delivered only to servers that are verified by DANE"
    )
    assert done.steps("DANE") == [f"all: {step}"]
    assert f"            mx1.good.test usable: {step}" in done.lines
    assert done.steps("answer") == ["OK dane-only"]
    assert not [line for line in done.lines if f"in {TLSRPT}" in line]
    net.dns.signed.clear()
    done = await asyncio.to_thread(commands.run, "query", "good.test", "--config", config)
    (dane,) = done.steps("DANE")
    not_validating = f"does not validate: name server {net.dns.address}"
    assert dane.startswith(f"not checked: {not_validating}; run a validating resolver")
    assert done.steps("answer") == [SECURE]
    assert done.code == 0


async def test_invalid_record(commands: Commands, net: Internet, tmp_path: Path) -> None:
    """An invalid record is their fault: exit code 2, with the record and the line to write."""
    net.deliver_to("bad.test")
    net.record("bad.test", "v=STSv1; id=a-b;")
    done = await commands.query(net, tmp_path, "bad.test")
    assert done.code == 2
    reason = "id is not 1 to 32 letters and digits: 'a-b'; write ab"
    assert done.lines[0] == (
        f"Mail to bad.test is delivered without protection: its TXT record is not valid: {reason}"
    )
    assert done.steps("fault") == ["theirs"]
    assert done.steps("record") == ['_mta-sts.bad.test 300 TXT "v=STSv1; id=a-b;"']
    assert done.steps("failure") == [f"{reason} (sts-policy-invalid)"]
    assert not done.steps("policy")


@pytest.mark.parametrize("fault", [Fault.SERVFAIL, Fault.REFUSED, Fault.GARBAGE])
async def test_dns_failure(commands: Commands, net: Internet, tmp_path: Path, fault: Fault) -> None:
    """A failed DNS query is not a missing record: nobody can tell."""
    net.publish("good.test")
    net.dns.zone["_mta-sts.good.test TXT"] = fault
    found = await queried(commands, net, tmp_path)
    verdict = found["verdict"]
    assert (verdict["exit_code"], verdict["flow"], verdict["cause"]) == (
        3,
        "unknown",
        "dns-failure",
    )
    assert found["network"]["error"] == "dns-failure"
    assert found["network"]["reason"] in verdict["sentence"]


async def test_no_dns(commands: Commands, net: Internet, tmp_path: Path) -> None:
    """Without an answer for the MX records nobody can tell either."""
    net.vanish(Fault.SERVFAIL)
    found = await queried(commands, net, tmp_path)
    assert (found["verdict"]["exit_code"], found["verdict"]["fault"]) == (3, "network")
    assert "the DNS does not answer" in found["verdict"]["sentence"]


async def test_defer_if_the_dns_fails(commands: Commands, net: Internet, tmp_path: Path) -> None:
    """With `dns.on_failure: defer` Postfix is told to try again: mail is held (D3)."""
    net.publish("good.test")
    net.dns.zone["_mta-sts.good.test TXT"] = Fault.SERVFAIL
    config = net.config(tmp_path, {"dns": {"on_failure": "defer"}})
    done = await asyncio.to_thread(commands.run, "query", "good.test", "--config", config)
    assert done.code == 2
    assert done.lines[0].startswith('Mail to good.test is held: the daemon answers "try again": ')
    assert done.steps("fault") == ["the network's"]
    (answer,) = done.steps("answer")
    assert answer.startswith("TEMP ")


@pytest.mark.parametrize(
    ("names", "days", "reason"),
    [
        (["other.test"], (-1, 90), "Hostname mismatch, .*'mta-sts.good.test'"),
        (["mta-sts.good.test"], EXPIRED, "certificate has expired"),
    ],
)
async def test_certificate(
    commands: Commands,
    net: Internet,
    tmp_path: Path,
    names: list[str],
    days: tuple[int, int],
    reason: str,
) -> None:
    """A bad certificate is a failure of its own type, with the reason of OpenSSL."""
    net.publish("good.test")
    wrong = net.hosts.authority.issue(*names, valid=days)
    net.hosts.credentials["mta-sts.good.test"] = wrong
    done = await commands.query(net, tmp_path, "good.test")
    (failure,) = done.steps("failure")
    assert done.code == 2
    assert re.fullmatch(rf"{reason}.* \(sts-webpki-invalid\)", failure)
    assert done.steps("fault") == ["theirs"]
    assert done.steps("id") == ["id1"]
    assert not done.steps("status")


async def test_404(commands: Commands, net: Internet, tmp_path: Path) -> None:
    """An HTTP status other than 200 is a failure, which names the status."""
    net.publish("good.test", reply(404, b"<html>", content_type="text/html"))
    done = await commands.query(net, tmp_path, "good.test")
    assert done.code == 2
    assert done.lines[0] == (
        "Mail to good.test is delivered without protection: its policy cannot be fetched: HTTP 404"
    )
    assert done.steps("status") == ["404, text/html"]
    assert done.steps("failure") == ["HTTP 404 (sts-policy-fetch-error)"]
    assert done.steps("answer") == ["NOTFOUND"]


async def test_cached_policy(commands: Commands, net: Internet, tmp_path: Path) -> None:
    """A policy that the running daemon has decides, whatever the network says now (D1)."""
    net.publish("good.test")
    async with daemon(net, tmp_path) as running:
        await running.ask("good.test")
        net.publish("good.test", reply(404))
        done = await commands.query(net, tmp_path, "good.test")
        found = await queried(commands, net, tmp_path)
    assert done.code == 0
    day = r"\d{4}-\d\d-\d\d"
    cached = f"that is cached until {day}, and it cannot be fetched now: HTTP 404"
    assert re.search(f"verified by its policy; {cached}$", done.lines[0])
    assert done.steps("fault") == ["theirs"]
    assert done.steps("answer") == [SECURE]
    assert done.steps("in force") == ["what the running daemon answers"]
    assert (found["source"], found["reply"]) == ("daemon", SECURE)
    assert (found["daemon"]["state"], found["daemon"]["in_force"]) == ("answered", True)
    assert (found["daemon"]["mode"], found["daemon"]["reply"]) == ("enforce", SECURE)
    assert found["daemon"]["expires_at"] - found["daemon"]["fetched_at"] == 604800
    assert (found["network"]["error"], found["network"]["mode"]) == ("status", None)


async def test_the_daemon_knows_nothing_yet(
    commands: Commands, net: Internet, tmp_path: Path
) -> None:
    """For a domain that the daemon was never asked for, the network decides; it is not asked."""
    net.publish("good.test")
    async with daemon(net, tmp_path):
        done = await commands.query(net, tmp_path, "good.test")
        found = await queried(commands, net, tmp_path)
    assert (done.code, done.steps("daemon")) == (0, ["knows no policy"])
    assert done.steps("in force") == [
        "what the network says: the daemon asks it at the next look-up"
    ]
    assert (found["source"], found["reply"]) == ("network", SECURE)
    assert (found["daemon"]["state"], found["daemon"]["mode"]) == ("answered", None)


async def test_foreign_mx(commands: Commands, net: Internet, tmp_path: Path) -> None:
    """A policy that names none of the MX hosts holds all mail, and the sentence says so (D4)."""
    net.deliver_to("good.test", "a.other.test", "b.other.test")
    net.publish("good.test")
    done = await commands.query(net, tmp_path, "good.test")
    assert done.code == 2
    assert done.lines[0] == (
        "Mail to good.test is held: its policy names none of its MX hosts "
        "(a.other.test, b.other.test), only mx1.good.test, unless a certificate has such a name"
    )
    assert done.steps("fault") == ["theirs"]
    assert done.steps("MX") == [
        "10 a.other.test 127.0.0.1, fits no mx pattern",
        "20 b.other.test 127.0.0.1, fits no mx pattern",
    ]


@pytest.mark.parametrize("pattern", ["127.0.0.1", "*.1.2.3.4"])
async def test_an_address_as_mx(
    commands: Commands, net: Internet, tmp_path: Path, pattern: str
) -> None:
    """No certificate can match an mx that is an address: all mail is held (E4)."""
    net.publish("good.test", ok(policy_text(mx=[pattern])))
    done = await commands.query(net, tmp_path, "good.test")
    assert done.code == 2
    assert "its policy names none of its MX hosts" in done.lines[0]
    (mistake,) = done.steps("mistake")
    assert pattern in mistake


async def test_invalid_policy(commands: Commands, net: Internet, tmp_path: Path) -> None:
    """Every line of an invalid policy is printed, and the invalid one marked."""
    text = policy_text(mx=["mx1.good.test", "under_score.good.test"])
    net.publish("good.test", ok(text))
    done = await commands.query(net, tmp_path, "good.test")
    assert done.code == 2
    assert "         3| mx: mx1.good.test" in done.lines
    assert "         4> mx: under_score.good.test" in done.lines
    assert "         5| max_age: 604800" in done.lines
    (failure,) = done.steps("failure")
    assert failure.startswith("line 4: mx: not a domain name: 'under_score.good.test'")
    network = (await queried(commands, net, tmp_path))["network"]
    assert (network["error"], network["line"]) == ("invalid-policy", 4)


@pytest.mark.parametrize(
    "options", [(), ("--json",), ("--letter",)], ids=["text", "json", "letter"]
)
async def test_escape_sequences(
    commands: Commands, net: Internet, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """Text from the network cannot control the terminal."""
    evil = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202e\r\x08"
    net.publish("evil.test", ok(policy_text() + b"note: " + evil.encode() + b"\n"))
    net.record("evil.test", r"v=STSv1; id=1; n=\027[2J")
    record = await commands.query(net, tmp_path, "evil.test", *options)
    net.record("evil.test", "v=STSv1; id=1;")
    policy = await commands.query(net, tmp_path, "evil.test", *options)
    head = reply(200, b"x", content_type="text/html\x1b[2J")
    net.publish("evil.test", head)
    media_type = await commands.query(net, tmp_path, "evil.test", *options)
    for done in (record, policy, media_type):
        assert done.code == 2
        assert done.out
        assert not UNSAFE.search(done.out)
    assert "note: " in policy.out or options == ("--letter",)
    assert r"x1b[2J" in record.out or r"u001b[2J" in record.out


async def test_any_script(commands: Commands, net: Internet, tmp_path: Path) -> None:
    """A valid policy may contain any script, and cannot change the direction of text."""
    words = "b\u00fccher \u202etset.live\u202c \u2028"
    net.publish("good.test", ok(policy_text() + f"note: {words}x\n".encode()))
    done = await commands.query(net, tmp_path, "good.test")
    printed = await commands.query(net, tmp_path, "good.test", "--json")
    assert done.code == printed.code == 0
    assert not UNSAFE.search(done.out + printed.out)
    assert r"         5| note: b\xfccher \u202etset.live" in done.out
    replies = dict(json.loads(printed.out)["replies"])
    assert f"{{ policy_string = note: {words}x }}" in replies[TLSRPT]


@pytest.mark.parametrize(
    ("text", "rua", "error"),
    [
        ("v=TLSRPTv1; rua=mailto:a@good.test,https://b.test/c", 2, ""),
        ("v=TLSRPTv1; rua=ftp://good.test", 0, "rua"),
    ],
)
async def test_tls_reports(
    commands: Commands, net: Internet, tmp_path: Path, text: str, rua: int, error: str
) -> None:
    """The TLSRPT record is shown, with what is wrong with it (RFC 8460 §3)."""
    net.publish("good.test")
    net.dns.zone["_smtp._tls.good.test TXT"] = [f'"{text}"']
    found = (await queried(commands, net, tmp_path))["tlsrpt"]
    assert found["record"]["texts"] == [text]
    assert len(found["rua"]) == rua
    assert error in found["error"]
    assert bool(error) is bool(found["error"])
    done = await commands.query(net, tmp_path, "good.test")
    assert done.code == 0
    assert done.steps("TLSRPT") == [f'_smtp._tls.good.test 300 TXT "{text}"']


@pytest.mark.parametrize(
    ("key", "flow", "reply"),
    [
        ("[mx1.good.test]", "dane", "OK dane-only"),
        ("[mx1.good.test]:587", "unprotected", "NOTFOUND"),
        ("[good.test]", "held", SECURE),  # which fits no pattern
    ],
)
async def test_dane_of_a_name_in_brackets(
    commands: Commands, net: Internet, tmp_path: Path, key: str, flow: str, reply: str
) -> None:
    """A name that is its own MX host has the daemon's verdict, whether or not it is known yet."""
    net.publish("good.test")
    net.vouch("good.test")
    net.dns.zone["good.test A"] = ["127.0.0.1"]
    changes = {"dane": {"mode": "on"}}
    config = net.config(tmp_path, changes)
    async with daemon(net, tmp_path, changes=changes) as running:
        for source in ("network", "daemon"):
            words = ("query", key, "--json", "--config", config)
            found = json.loads((await asyncio.to_thread(commands.run, *words)).out)
            assert (found["source"], found["reply"]) == (source, reply)
            assert found["verdict"]["flow"] == flow
            await running.ask(key)


async def test_silent_tlsa(commands: Commands, net: Internet, tmp_path: Path) -> None:
    """A look-up of DANE that does not end in time is said, and the policy decides."""
    net.publish("good.test")
    net.vouch("good.test")
    net.dns.zone["_25._tcp.mx1.good.test TLSA"] = Fault.SILENCE
    changes = {"dane": {"mode": "on"}, "dns": {"timeout": "30s"}}
    config = net.config(tmp_path, changes)
    words = ("query", "good.test", "--timeout", "2s", "--config", config)
    done = await asyncio.to_thread(commands.run, *words)
    assert done.steps("DANE") == ["not checked: not finished within 2 s"]
    assert done.steps("answer") == [SECURE]


async def test_reply_limit(commands: Commands, net: Internet, tmp_path: Path) -> None:
    """Attributes that do not fit in a reply to Postfix are not printed either."""
    net.publish("good.test", ok(policy_text() + b"x: y\n" * 10_000))
    replies = dict((await queried(commands, net, tmp_path))["replies"])
    assert replies[TLSRPT] == (
        "OK secure match=mx1.good.test servername=hostname policy_type=sts "
        "policy_domain=good.test mx_host_pattern=mx1.good.test"
    )


async def test_no_connection(commands: Commands, net: Internet, tmp_path: Path) -> None:
    """Without a connection the address is the last step before the failure."""
    net.publish("good.test")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # not listening
        https = {"https": {"proxy": f"http://127.0.0.1:{unused.getsockname()[1]}"}}
        path = net.config(tmp_path, https)
        done = await asyncio.to_thread(commands.run, "query", "good.test", "--config", path)
    assert done.code == 2
    assert done.steps("address") == ["127.0.0.1"]
    assert done.steps("failure") == ["the proxy: Connection refused (sts-policy-fetch-error)"]
    assert not done.steps("TLS") + done.steps("status")


async def test_nothing_is_cached(commands: Commands, net: Internet, tmp_path: Path) -> None:
    """Every query uses the network, and writes no file."""
    net.publish("good.test")
    for _ in range(2):
        assert (await commands.query(net, tmp_path, "good.test")).code == 0
    assert (net.queries("good.test"), net.gets("good.test")) == (2, 2)
    assert not (tmp_path / "policies.db").exists()


async def test_long_policy(commands: Commands, net: Internet, tmp_path: Path) -> None:
    """A policy of 64 KiB of line ends does not flood the terminal."""
    net.publish("long.test", ok(policy_text(mx=["*.long.test"]) + b"\n" * 60_000))
    done = await commands.query(net, tmp_path, "long.test")
    assert done.code == 0
    assert len(done.lines) < 300


@pytest.mark.parametrize(
    ("key", "domain"),
    [
        ("Bücher.test.", "xn--bcher-kva.test"),
        ("XN--Bcher-Kva.TEST", "xn--bcher-kva.test"),
        ("xn--bcher-kva.test:587", "xn--bcher-kva.test"),
    ],
)
async def test_spellings(
    commands: Commands, net: Internet, tmp_path: Path, key: str, domain: str
) -> None:
    """A domain may be given in any spelling, and with a port."""
    net.publish(domain)
    found = await queried(commands, net, tmp_path, key)
    assert (found["verdict"]["exit_code"], found["domain"]) == (0, domain)
    assert found["key"] == key.removesuffix(".")
    assert found["reply"] == f"OK secure match=mx1.{domain} servername=hostname"


@pytest.mark.parametrize(
    ("key", "host"),
    [
        ("ai", "ai"),
        ("[mx.example.test]:587", "mx.example.test"),
        ("[127.0.0.1]", "127.0.0.1"),
        ("127.0.0.1", "127.0.0.1"),
    ],
)
async def test_keys_of_postfix(
    commands: Commands, net: Internet, tmp_path: Path, key: str, host: str
) -> None:
    """A next-hop to which no policy applies is answered as Postfix is (D2), without a GET."""
    net.dns.zone[f"{host} A"] = ["127.0.0.1"]
    net.publish("example.test")
    net.publish("ai")
    found = await queried(commands, net, tmp_path, key)
    assert (found["key"], found["reply"]) == (key, "NOTFOUND")
    assert (found["verdict"]["flow"], found["verdict"]["exit_code"]) == ("unprotected", 1)
    assert net.hosts.connections.total == 0
    async with daemon(net, tmp_path) as running:
        assert await running.ask(key) == b"NOTFOUND "
        assert (await queried(commands, net, tmp_path, key))["reply"] == "NOTFOUND"


@pytest.mark.parametrize("domain", ["a..test", "", "a" * 300, "\x1b[2J", "a@b.test", "a.test:x"])
def test_invalid_domain(commands: Commands, domain: str, tmp_path: Path) -> None:
    """An invalid domain is a wrong argument, and an error of one printable line."""
    config = tmp_path / "c.yml"
    config.touch()
    done = commands.run("query", domain, "--config", config)
    assert (done.code, done.out, done.err.count("\n")) == (64, "", 1)
    assert done.err.startswith("postfix-mta-sts: ")
    assert not UNSAFE.search(done.err)


TIMES = ("soon", "0s", "0.5s", "-1s", "2h", "")


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("a.test", "b.test"),
        ("a.test", "--jsn"),
        ("a.test", "--js"),
        ("a.test", "--timeout"),
        *((f"--timeout={time}", "a.test") for time in TIMES),
        *((f"--watch={time}", "a.test") for time in TIMES),
    ],
    ids=" ".join,
)
def test_wrong_arguments(commands: Commands, words: tuple[str, ...]) -> None:
    """Wrong arguments have exit code 64, and nothing is asked."""
    done = commands.run("query", *words)
    assert (done.code, done.out) == (64, "")
    assert "postfix-mta-sts" in done.err


def test_a_domain_behind_watch(commands: Commands) -> None:
    """It is taken for the time; the error says where it belongs."""
    done = commands.run("query", "--watch", "good.test")
    assert (done.code, done.out) == (64, "")
    assert "the domain comes before --watch" in done.err


def test_no_configuration(commands: Commands, tmp_path: Path) -> None:
    """Without its configuration the command cannot tell."""
    (tmp_path / "c.yml").write_text("listen: 1")
    done = commands.run("query", "good.test", "--config", tmp_path / "c.yml")
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith("postfix-mta-sts: ")


async def test_names_that_lead_elsewhere(commands: Commands, net: Internet, tmp_path: Path) -> None:
    """The CNAME record of an MX host is shown as a chain."""
    net.publish("good.test")
    del net.dns.zone["mx1.good.test A"]
    net.dns.zone |= {
        "mx1.good.test CNAME": ["mx7.provider.test."],
        "mx7.provider.test A": ["127.0.0.1"],
    }
    done = await commands.query(net, tmp_path, "good.test")
    assert done.steps("alias") == ["mx1.good.test -> mx7.provider.test"]
