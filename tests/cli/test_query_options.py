"""The options of `query`: --schema, --letter, --watch, --timeout and --smtp."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest

from tests.support.commands import Commands
from tests.support.daemons import daemon
from tests.support.dns import Fault
from tests.support.internet import Internet
from tests.support.policy_host import Script, ok, policy_text, reply
from tests.support.postfix_programs import OURS, PostfixPrograms, hide_postfix
from tests.support.smtp_host import SILENCE, SmtpHost
from tests.support.tls import EXPIRED

SCHEMA: Final = Path(__file__).parents[2] / "docs" / "diagnosis.schema.json"


@pytest.fixture(autouse=True)
def no_postfix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """There is no Postfix, also on a machine that has one."""
    hide_postfix(monkeypatch, tmp_path)


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """The schema that is kept as a part of the interface."""
    kept: dict[str, Any] = json.loads(SCHEMA.read_text("utf-8"))
    return kept


class TestSchema:
    """`--schema`."""

    def test_it_is_kept(self, commands: Commands) -> None:
        """It is docs/diagnosis.schema.json; see CONTRIBUTING.md for how to write that again."""
        done = commands.run("query", "--schema")
        assert (done.code, done.err) == (0, "")
        assert done.out == SCHEMA.read_text("utf-8")

    def test_it_is_one(self, schema: dict[str, Any]) -> None:
        """It is a valid schema (JSON Schema 2020-12), of an object whose members are all named."""
        jsonschema.Draft202012Validator.check_schema(schema)
        root = schema["$defs"]["Diagnosis"]
        assert schema["$ref"] == "#/$defs/Diagnosis"
        assert {"verdict", "daemon", "network", "delivery"} <= root["properties"].keys()

    def test_it_refuses(self, schema: dict[str, Any]) -> None:
        """What is not a diagnosis does not fit it."""
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.Draft202012Validator(schema).validate({"key": "good.test"})


CASES: Final = {
    "good.test": None,
    "testing.test": ok(policy_text("testing", mx=["mx1.testing.test"])),
    "none.test": ok(policy_text("none")),
    "foreign.test": ok(policy_text(mx=["mx.other.test"])),
    "gone.test": reply(404, b"<html>", content_type="text/html"),
    "moved.test": reply(301, location="https://www.moved.test/"),
    "broken.test": ok(b"version: STSv1\nmode: enforce\nnmx: mx1.broken.test\n"),
}
"""Domains and the responses of their Policy Hosts."""


async def test_all_output_fits_the_schema(
    commands: Commands, net: Internet, tmp_path: Path, schema: dict[str, Any]
) -> None:
    """Whatever is found, `--json` prints what the schema says."""
    validator = jsonschema.Draft202012Validator(schema)
    for domain, answer in CASES.items():
        net.publish(domain, answer)
    net.record("broken.test", "v=STS1; id=1;")
    net.deliver_to("plain.test")
    net.dns.zone["silent.test MX"] = Fault.SERVFAIL
    net.dns.zone["null.test MX"] = ["0 ."]
    net.vouch("good.test")
    keys = (*CASES, "plain.test", "silent.test", "null.test", "missing.test", "[127.0.0.1]:9")
    async with daemon(net, tmp_path) as running:
        await running.ask("good.test")
        config = net.config(tmp_path, {"dane": {"mode": "on"}})
        for key in keys:
            words = ("query", key, "--json", "--smtp", "--config", config)
            done = await asyncio.to_thread(commands.run, *words)
            validator.validate(json.loads(done.out))


class TestLetter:
    """`--letter`."""

    async def test_their_fault(self, commands: Commands, net: Internet, tmp_path: Path) -> None:
        """The text for their postmaster, and nothing else; the exit code stays."""
        net.publish("good.test", reply(404))
        done = await commands.query(net, tmp_path, "good.test", "--letter")
        assert (done.code, done.err) == (2, "")
        assert done.lines[:3] == [
            "To: postmaster@good.test",
            "Subject: Mail to good.test: a problem with your MTA-STS policy",
            "",
        ]
        assert "  - https://mta-sts.good.test/.well-known/mta-sts.txt at 127.0.0.1" in done.lines

    async def test_nothing_to_tell(self, commands: Commands, net: Internet, tmp_path: Path) -> None:
        """Without a fault of theirs there is no letter, and standard error says why."""
        net.publish("good.test")
        done = await commands.query(net, tmp_path, "good.test", "--letter")
        assert (done.code, done.out) == (0, "")
        assert done.err.endswith(
            " Mail to good.test is delivered only to servers that are verified by its policy\n"
        )


class TestWatch:
    """`--watch`."""

    async def test_until_it_flows(self, commands: Commands, net: Internet, tmp_path: Path) -> None:
        """A line for each time, and at the end all that was found."""
        net.publish("good.test", mended_after(net))
        done = await commands.query(net, tmp_path, "good.test", "--watch", "1s")
        assert done.code == 0
        assert re.fullmatch(
            r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ Mail to good\.test is delivered without protection: "
            r"its policy cannot be fetched: HTTP 500",
            done.lines[0],
        )
        assert done.lines[1] == (
            "Mail to good.test is delivered only to servers that are verified by its policy"
        )
        assert done.steps("status") == ["200, text/plain, 67 bytes"]
        assert net.gets("good.test") == 2

    async def test_json(
        self, commands: Commands, net: Internet, tmp_path: Path, schema: dict[str, Any]
    ) -> None:
        """With `--json`, each time is a line, and the last object is the one that is well."""
        net.publish("good.test", mended_after(net))
        done = await commands.query(net, tmp_path, "good.test", "--watch", "1s", "--json")
        first, last = done.out.split("\n", 1)
        found = [json.loads(first), json.loads(last)]
        for each in found:
            jsonschema.Draft202012Validator(schema).validate(each)
        assert (done.code, [each["verdict"]["exit_code"] for each in found]) == (0, [2, 0])

    async def test_it_flows(self, commands: Commands, net: Internet, tmp_path: Path) -> None:
        """A domain whose mail flows is asked for once."""
        net.publish("good.test")
        done = await commands.query(net, tmp_path, "good.test", "--watch")
        assert (done.code, net.gets("good.test")) == (0, 1)


def mended_after(net: Internet) -> Script:
    """A failure, after which good.test has a policy."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(reply(500))
        net.publish("good.test")

    return answer


async def test_timeout(commands: Commands, net: Internet, tmp_path: Path) -> None:
    """`--timeout` bounds the look-ups; what did not come by then is said."""
    net.publish("slow.test")
    net.hosts.hold()
    done = await commands.query(net, tmp_path, "slow.test", "--timeout", "1s")
    assert done.code == 2
    (failure,) = done.steps("failure")
    assert failure.startswith("not finished within 1 s ")


class TestSmtp:
    """`--smtp`, with a Postfix that has the CA of the test, and a daemon that it asks."""

    @pytest.fixture(autouse=True)
    def postfix(self, net: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A Postfix that is set up as the README says."""
        maps = OURS.format(folder=tmp_path)
        ca = str(net.ca_file)
        PostfixPrograms(tmp_path / "bin", smtp_tls_policy_maps=maps, smtp_tls_CAfile=ca).use(
            monkeypatch
        )

    async def test_verified(self, commands: Commands, net: Internet, tmp_path: Path) -> None:
        """The conversation is shown, and what becomes of a message; one connection, one QUIT."""
        net.publish("good.test")
        credential = net.hosts.authority.issue("mx1.good.test")
        async with SmtpHost(credential) as host, daemon(net, tmp_path):
            done = await commands.query(net, tmp_path, f"good.test:{host.port}", "--smtp")
        assert done.lines[0] == (
            f"Mail to good.test:{host.port} is delivered, verified by its policy"
        )
        assert done.code == 0
        assert done.steps("message") == ["sent through mx1.good.test, TLS Verified"]
        assert (host.connections, host.commands[-1]) == (1, "QUIT")
        assert host.commands[0] == "EHLO relay.test"
        assert host.names == ["mx1.good.test"]

    async def test_expired(self, commands: Commands, net: Internet, tmp_path: Path) -> None:
        """The sentence says what is wrong, and the letter has the certificate."""
        net.publish("good.test")
        credential = net.hosts.authority.issue("mx1.good.test", valid=EXPIRED)
        async with SmtpHost(credential) as host, daemon(net, tmp_path):
            key = f"good.test:{host.port}"
            done = await commands.query(net, tmp_path, key, "--smtp")
            written = await commands.query(net, tmp_path, key, "--smtp", "--letter")
        assert (done.code, written.code) == (2, 2)
        assert done.lines[0] == (
            f"Mail to {key} is held: its MX host mx1.good.test fails: certificate expired 1 day ago"
        )
        assert done.steps("fault") == ["theirs"]
        assert done.steps("message") == ["deferred 4.7.5: Server certificate not verified"]
        assert "its certificate: mx1.good.test; issued by" in written.out

    async def test_black_hole(self, commands: Commands, net: Internet, tmp_path: Path) -> None:
        """A host that never speaks costs the time of `--timeout`, and the sentence says so."""
        net.publish("good.test")
        credential = net.hosts.authority.issue("mx1.good.test")
        async with SmtpHost(credential, plain={"": SILENCE}) as host, daemon(net, tmp_path):
            words = (f"good.test:{host.port}", "--smtp", "--timeout", "1s")
            done = await commands.query(net, tmp_path, *words)
        assert done.code == 3
        assert "mx1.good.test fails: no answer before its greeting within 1 s" in done.lines[0]


async def test_no_ca(
    commands: Commands, net: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Postfix without CA certificates holds all mail with a policy, and that is your fault."""
    maps = OURS.format(folder=tmp_path)
    PostfixPrograms(tmp_path / "bin", smtp_tls_policy_maps=maps).use(monkeypatch)
    net.publish("good.test")
    credential = net.hosts.authority.issue("mx1.good.test")
    async with SmtpHost(credential) as host, daemon(net, tmp_path):
        done = await commands.query(net, tmp_path, f"good.test:{host.port}", "--smtp")
    assert done.code == 2
    assert "not verified: Postfix has no CA certificates" in done.lines[0]
    assert done.steps("fault") == ["yours"]
    assert any("set smtp_tls_CAfile" in each for each in done.steps("do"))


async def test_damaged_ca(
    commands: Commands, net: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CA file that smtp(8) cannot load holds all mail with a policy, and that is your fault."""
    ca_file = tmp_path / "damaged.pem"
    ca_file.write_text(net.ca_file.read_text()[:-40])
    maps = OURS.format(folder=tmp_path)
    PostfixPrograms(tmp_path / "bin", smtp_tls_policy_maps=maps, smtp_tls_CAfile=str(ca_file)).use(
        monkeypatch
    )
    net.publish("good.test")
    credential = net.hosts.authority.issue("mx1.good.test")
    async with SmtpHost(credential) as host, daemon(net, tmp_path):
        done = await commands.query(net, tmp_path, f"good.test:{host.port}", "--smtp")
    assert done.code == 2
    assert "Postfix cannot load its CA certificates" in done.lines[0]
    assert done.steps("fault") == ["yours"]


async def test_damaged_ca_of_the_system(
    commands: Commands, net: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without CA certificates to compare with, nothing can be told, and the file is named."""
    damaged = tmp_path / "damaged.pem"
    damaged.write_text(net.ca_file.read_text()[:-40])
    monkeypatch.setenv("SSL_CERT_FILE", str(damaged))
    monkeypatch.setenv("PATH", str(tmp_path))
    net.publish("good.test")
    done = await commands.query(net, tmp_path, "good.test", "--smtp")
    assert done.code == 3
    assert done.err.startswith(f"postfix-mta-sts: {damaged}: no CA certificates: ")
