"""`query DOMAIN`: each step, the reply to Postfix, and the exit code."""

import asyncio
import json
import re
import socket
from pathlib import Path

import pytest

from tests.support.commands import Commands
from tests.support.dns import Fault
from tests.support.internet import Internet
from tests.support.policy_host import ok, policy_text, reply
from tests.support.tls import EXPIRED

UNSAFE = re.compile(r"[^\n -~]")
"""Characters that can move the cursor of a terminal, or hide text."""


async def test_enforce(commands: Commands, net: Internet, tmp_path: Path) -> None:
    """Each step is a line, up to the reply to Postfix; exit code 0."""
    net.publish("good.test", policy_id="20260101", ttl=77)
    done = await commands.query(net, tmp_path, "good.test")
    assert (done.code, done.err, done.lines[0]) == (0, "", "good.test")
    assert done.steps("record") == ['_mta-sts.good.test 77 TXT "v=STSv1; id=20260101;"']
    assert done.steps("id") == ["20260101"]
    assert done.steps("policy") == ["https://mta-sts.good.test/.well-known/mta-sts.txt"]
    assert done.steps("address") == ["127.0.0.1"]
    assert done.steps("TLS") == ["TLSv1.3"]
    assert done.steps("cert") == ["DNS:mta-sts.good.test"]
    (issuer,) = done.steps("issuer")
    assert issuer.startswith("Test CA; valid until ")
    assert done.steps("status") == ["200, text/plain, 67 bytes"]
    assert done.lines[9:13] == [
        "         1| version: STSv1",
        "         2| mode: enforce",
        "         3| mx: mx1.good.test",
        "         4| max_age: 604800",
    ]
    secure = "OK secure match=mx1.good.test servername=hostname"
    assert done.steps("Postfix") == [secure]
    (tlsrpt,) = done.steps("TLSRPT")
    assert tlsrpt.startswith(f"{secure} policy_type=sts policy_domain=good.test ")
    assert not done.steps("failure")


async def test_json(commands: Commands, net: Internet, tmp_path: Path) -> None:
    """`--json` prints one object, with the same keys for every result."""
    net.publish("good.test")
    done = await commands.query(net, tmp_path, "good.test", "--json")
    none = await commands.query(net, tmp_path, "other.test", "--json")
    found, absent = json.loads(done.out), json.loads(none.out)
    assert found.keys() == absent.keys()
    assert found["record"] == {
        "name": "_mta-sts.good.test",
        "ttl": 300,
        "texts": ["v=STSv1; id=id1;"],
    }
    assert found["policy"] == {"mode": "enforce", "mx": ["mx1.good.test"], "max_age": 604800}
    assert found["body"] == policy_text().decode()
    assert found["https"]["status"] == 200
    assert found["https"]["certificate"]["names"] == ["DNS:mta-sts.good.test"]
    assert found["reply"]["plain"] == "OK secure match=mx1.good.test servername=hostname"
    assert found["error"] is None
    assert (absent["id"], absent["https"], absent["body"], absent["policy"]) == (None,) * 4
    assert absent["error"]["code"] == "no-record"
    assert absent["reply"] == {"plain": "NOTFOUND", "tlsrpt": "NOTFOUND"}
    not_asked: dict[str, object]
    not_asked = {"kind": None, "reason": "dane.mode is off", "mx": None, "hosts": [], "ttl": None}
    assert found["dane"] == absent["dane"] == not_asked


@pytest.mark.parametrize("mode", ["testing", "none"])
async def test_not_enforced(commands: Commands, net: Internet, tmp_path: Path, mode: str) -> None:
    """A policy that is not enforced has exit code 0; the reply to Postfix is NOTFOUND."""
    net.publish("soft.test", ok(policy_text(mode, mx=["*.soft.test"])))
    done = await commands.query(net, tmp_path, "soft.test")
    assert done.code == 0
    assert done.steps("Postfix") == done.steps("TLSRPT") == ["NOTFOUND"]
    found = json.loads((await commands.query(net, tmp_path, "soft.test", "--json")).out)
    assert found["policy"] == {"mode": mode, "mx": ["*.soft.test"], "max_age": 604800}


async def test_no_record(commands: Commands, net: Internet, tmp_path: Path) -> None:
    """For a domain without a record the exit code is 1, and no GET is sent."""
    done = await commands.query(net, tmp_path, "other.test")
    assert done.code == 1
    assert done.lines == [
        "other.test",
        "  none      NXDOMAIN",
        "  DANE      not checked: dane.mode is off",
        "  Postfix   NOTFOUND",
        "  TLSRPT    NOTFOUND",
    ]
    assert net.hosts.connections.total == 0


async def test_dane(commands: Commands, net: Internet, tmp_path: Path) -> None:
    """If DANE is on, its verdict is a step, and overrides the policy."""
    net.publish("good.test")
    net.vouch("good.test")
    config = net.config(tmp_path, {"dane": {"mode": "on"}})
    done = await asyncio.to_thread(commands.run, "query", "good.test", "--config", config)
    step = "TLSA of _25._tcp.mx1.good.test: 1 found, signed, 1 usable"
    assert done.steps("DANE") == [f"all: {step}"]
    assert done.steps("MX host") == [f"mx1.good.test usable: {step}"]
    assert done.steps("Postfix") == done.steps("TLSRPT") == ["OK dane-only"]
    net.dns.signed.clear()
    done = await asyncio.to_thread(commands.run, "query", "good.test", "--config", config)
    (dane,) = done.steps("DANE")
    not_validating = f"does not validate: name server {net.dns.address}"
    assert dane.startswith(f"not checked: {not_validating}; run a validating resolver")
    assert done.steps("Postfix") == ["OK secure match=mx1.good.test servername=hostname"]
    assert done.code == 0


async def test_invalid_record(commands: Commands, net: Internet, tmp_path: Path) -> None:
    """An invalid record is a failure: exit code 2, with the record and the reason."""
    net.record("bad.test", "v=STSv1; id=a-b;")
    done = await commands.query(net, tmp_path, "bad.test")
    assert done.code == 2
    assert done.steps("record") == ['_mta-sts.bad.test 300 TXT "v=STSv1; id=a-b;"']
    assert done.steps("failure") == [
        "id is not 1 to 32 letters and digits: 'a-b'; write ab (sts-policy-invalid)"
    ]
    assert not done.steps("policy")


async def test_dns_failure(commands: Commands, net: Internet, tmp_path: Path) -> None:
    """A failed DNS query is a failure, and not a missing record."""
    net.vanish(Fault.SERVFAIL)
    done = await commands.query(net, tmp_path, "good.test", "--json")
    error = json.loads(done.out)["error"]
    assert done.code == 2
    assert error == {
        "code": "dns-failure",
        "result": "sts-policy-fetch-error",
        "reason": "SERVFAIL from the name server",
        "line": None,
    }


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
    assert done.steps("id") == ["id1"]
    assert not done.steps("status")


async def test_404(commands: Commands, net: Internet, tmp_path: Path) -> None:
    """An HTTP status other than 200 is a failure, which names the status."""
    net.publish("good.test", reply(404, b"<html>", content_type="text/html"))
    done = await commands.query(net, tmp_path, "good.test")
    assert done.code == 2
    assert done.steps("status") == ["404, text/html"]
    assert done.steps("failure") == ["HTTP 404 (sts-policy-fetch-error)"]
    assert done.steps("Postfix") == ["NOTFOUND"]


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
    error = json.loads((await commands.query(net, tmp_path, "good.test", "--json")).out)["error"]
    assert (error["code"], error["line"]) == ("invalid-policy", 4)


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["text", "json"])
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
        assert not UNSAFE.search(done.out)
    assert "note: " in policy.out
    assert r"x1b[2J" in record.out or r"u001b[2J" in record.out


async def test_any_script(commands: Commands, net: Internet, tmp_path: Path) -> None:
    """A valid policy may contain any script, and cannot change the direction of text."""
    words = "b\u00fccher \u202etset.live\u202c \u2028"
    net.publish("good.test", ok(policy_text() + f"note: {words}x\n".encode()))
    done = await commands.query(net, tmp_path, "good.test")
    assert done.code == 0
    assert not UNSAFE.search(done.out)
    assert r"{ policy_string = note: b\xfccher \u202etset.live" in done.steps("TLSRPT")[0]


async def test_reply_limit(commands: Commands, net: Internet, tmp_path: Path) -> None:
    """Attributes that do not fit in a reply to Postfix are not printed either."""
    net.publish("good.test", ok(policy_text() + b"x: y\n" * 10_000))
    done = await commands.query(net, tmp_path, "good.test")
    (tlsrpt,) = done.steps("TLSRPT")
    assert tlsrpt == (
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


async def test_idn(commands: Commands, net: Internet, tmp_path: Path) -> None:
    """A domain may be given in any spelling."""
    net.publish("xn--bcher-kva.test")
    done = await commands.query(net, tmp_path, "Bücher.test.")
    assert (done.code, done.lines[0]) == (0, "xn--bcher-kva.test")


async def test_long_policy(commands: Commands, net: Internet, tmp_path: Path) -> None:
    """A policy of 64 KiB of line ends does not flood the terminal."""
    net.publish("long.test", ok(policy_text() + b"\n" * 60_000))
    done = await commands.query(net, tmp_path, "long.test")
    assert done.code == 0
    assert len(done.lines) < 300


@pytest.mark.parametrize(
    "domain", ["[192.0.2.1]", "192.0.2.1", "a..test", "", "a" * 300, "\x1b[2J"]
)
def test_invalid_domain(commands: Commands, domain: str, tmp_path: Path) -> None:
    """An invalid domain is an error of one printable line."""
    config = tmp_path / "c.yml"
    config.touch()
    done = commands.run("query", domain, "--config", config)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith("postfix-mta-sts: ")
    assert not UNSAFE.search(done.err)
