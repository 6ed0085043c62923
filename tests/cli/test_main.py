"""The commands: what they print, where, and with which exit code."""

import argparse
import asyncio
import json
import logging
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from postfix_mta_sts import __version__
from postfix_mta_sts.cli import main as cli
from tests.support.dns import Fault
from tests.support.internet import Internet, internet
from tests.support.policy_host import ok, policy_text, reply
from tests.support.tls import EXPIRED

UNSAFE = re.compile(r"[^\n -~]")
"""What may move a terminal's cursor, or write what is not there."""


@pytest.fixture
async def net(tmp_path: Path) -> AsyncIterator[Internet]:
    """An Internet on loopback."""
    async with internet(tmp_path) as net:
        yield net


@dataclass
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """What it printed."""
        return self.out.splitlines()

    def steps(self, name: str) -> list[str]:
        """Of what `query` printed, the lines of one step."""
        found = (re.fullmatch(rf"  {name} +(.*)", line) for line in self.lines)
        return [match[1] for match in found if match]


class Commands:
    """Runs commands in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def run(self, *argv: str | Path) -> Done:
        """A command, to its end."""
        try:
            code = cli.main([str(word) for word in argv])
        except SystemExit as end:  # argparse leaves by itself
            assert isinstance(end.code, int)
            code = end.code
        return Done(code, *self._capsys.readouterr())

    async def query(self, net: Internet, folder: Path, domain: str, *options: str) -> Done:
        """`query`, while the servers in this event loop answer it."""
        return await asyncio.to_thread(
            self.run, "query", domain, "--config", net.config(folder), *options
        )


@pytest.fixture
def commands(capsys: pytest.CaptureFixture[str]) -> Commands:
    """Commands, and what they print."""
    return Commands(capsys)


def child(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, as a shell runs it."""
    words = [sys.executable, "-m", "postfix_mta_sts", *argv]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)


class TestQuery:
    """`query DOMAIN`, where there is a network to ask."""

    async def test_enforce(self, commands: Commands, net: Internet, tmp_path: Path) -> None:
        """Each step is a line, up to what Postfix would get; exit code 0."""
        net.publish("good.test", policy_id="20260101", ttl=77)
        done = await commands.query(net, tmp_path, "good.test")
        assert (done.code, done.err, done.lines[0]) == (0, "", "good.test")
        assert done.steps("record") == ['_mta-sts.good.test 77 TXT "v=STSv1; id=20260101;"']
        assert done.steps("id") == ["20260101"]
        assert done.steps("policy") == ["https://mta-sts.good.test/.well-known/mta-sts.txt"]
        assert done.steps("address") == ["127.0.0.1"]
        assert done.steps("TLS") == ["TLSv1.3"]
        (cert,) = done.steps("cert")
        assert cert.startswith("DNS:mta-sts.good.test; issued by Test CA; valid until ")
        assert done.steps("status") == ["200, text/plain, 67 bytes"]
        assert done.lines[8:12] == [
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

    async def test_json(self, commands: Commands, net: Internet, tmp_path: Path) -> None:
        """The same as one object, with the same keys whatever was reached."""
        net.publish("good.test")
        done = await commands.query(net, tmp_path, "good.test", "--json")
        none = await commands.query(net, tmp_path, "other.test", "--json")
        seen, absent = json.loads(done.out), json.loads(none.out)
        assert seen.keys() == absent.keys()
        assert seen["record"] == {
            "name": "_mta-sts.good.test",
            "ttl": 300,
            "texts": ["v=STSv1; id=id1;"],
        }
        assert seen["policy"] == {"mode": "enforce", "mx": ["mx1.good.test"], "max_age": 604800}
        assert seen["body"] == policy_text().decode()
        assert seen["https"]["status"] == 200
        assert seen["https"]["certificate"]["names"] == ["DNS:mta-sts.good.test"]
        assert seen["reply"]["plain"] == "OK secure match=mx1.good.test servername=hostname"
        assert seen["error"] is None
        assert (absent["id"], absent["https"], absent["body"], absent["policy"]) == (None,) * 4
        assert absent["error"]["code"] == "no-record"
        assert absent["reply"] == {"plain": "NOTFOUND", "tlsrpt": "NOTFOUND"}
        unasked: dict[str, object]
        unasked = {"kind": None, "reason": "dane.mode is off", "mx": None, "hosts": [], "ttl": None}
        assert seen["dane"] == absent["dane"] == unasked

    @pytest.mark.parametrize("mode", ["testing", "none"])
    async def test_not_enforced(
        self, commands: Commands, net: Internet, tmp_path: Path, mode: str
    ) -> None:
        """A policy that is not enforced is a policy, of which Postfix is told nothing."""
        net.publish("soft.test", ok(policy_text(mode, mx=["*.soft.test"])))
        done = await commands.query(net, tmp_path, "soft.test")
        assert done.code == 0
        assert done.steps("Postfix") == done.steps("TLSRPT") == ["NOTFOUND"]
        seen = json.loads((await commands.query(net, tmp_path, "soft.test", "--json")).out)
        assert seen["policy"] == {"mode": mode, "mx": ["*.soft.test"], "max_age": 604800}

    async def test_none_at_all(self, commands: Commands, net: Internet, tmp_path: Path) -> None:
        """A domain without a record has exit code 1, and no GET is sent."""
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

    async def test_dane(self, commands: Commands, net: Internet, tmp_path: Path) -> None:
        """Where DANE is on, its verdict is a step, and goes before the policy."""
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
        (unasked,) = done.steps("DANE")
        not_validating = f"does not validate: name server {net.dns.address}"
        assert unasked.startswith(f"not checked: {not_validating}; have a resolver that validates")
        assert done.steps("Postfix") == ["OK secure match=mx1.good.test servername=hostname"]
        assert done.code == 0

    async def test_invalid_record(self, commands: Commands, net: Internet, tmp_path: Path) -> None:
        """A record that is there but wrong is a failure: exit code 2, the record and the reason."""
        net.record("bad.test", "v=STSv1; id=a-b;")
        done = await commands.query(net, tmp_path, "bad.test")
        assert done.code == 2
        assert done.steps("record") == ['_mta-sts.bad.test 300 TXT "v=STSv1; id=a-b;"']
        assert done.steps("failure") == [
            "id is not 1 to 32 letters and digits: 'a-b' (sts-policy-invalid)"
        ]
        assert not done.steps("policy")

    async def test_silent_dns(self, commands: Commands, net: Internet, tmp_path: Path) -> None:
        """A DNS that does not say is a failure, not an absence."""
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
        self,
        commands: Commands,
        net: Internet,
        tmp_path: Path,
        names: list[str],
        days: tuple[int, int],
        reason: str,
    ) -> None:
        """A certificate that does not fit is told apart, with OpenSSL's reason."""
        net.publish("good.test")
        wrong = net.hosts.authority.issue(*names, valid=days)
        net.hosts.credentials["mta-sts.good.test"] = wrong
        done = await commands.query(net, tmp_path, "good.test")
        (failure,) = done.steps("failure")
        assert done.code == 2
        assert re.fullmatch(rf"{reason}.* \(sts-webpki-invalid\)", failure)
        assert done.steps("id") == ["id1"]
        assert not done.steps("status")

    async def test_404(self, commands: Commands, net: Internet, tmp_path: Path) -> None:
        """Another status than 200 is a failure that names it."""
        net.publish("good.test", reply(404, b"<html>", content_type="text/html"))
        done = await commands.query(net, tmp_path, "good.test")
        assert done.code == 2
        assert done.steps("status") == ["404, text/html"]
        assert done.steps("failure") == ["HTTP 404 (sts-policy-fetch-error)"]
        assert done.steps("Postfix") == ["NOTFOUND"]

    async def test_invalid_policy(self, commands: Commands, net: Internet, tmp_path: Path) -> None:
        """Of an invalid policy every line is shown, and the wrong one marked."""
        text = policy_text(mx=["mx1.good.test", "under_score.good.test"])
        net.publish("good.test", ok(text))
        done = await commands.query(net, tmp_path, "good.test")
        assert done.code == 2
        assert "         3| mx: mx1.good.test" in done.lines
        assert "         4> mx: under_score.good.test" in done.lines
        assert "         5| max_age: 604800" in done.lines
        (failure,) = done.steps("failure")
        assert failure.startswith("line 4: mx: not a domain name: 'under_score.good.test'")
        error = json.loads((await commands.query(net, tmp_path, "good.test", "--json")).out)[
            "error"
        ]
        assert (error["code"], error["line"]) == ("invalid-policy", 4)

    @pytest.mark.parametrize("options", [(), ("--json",)], ids=["text", "json"])
    async def test_escape_sequences(
        self, commands: Commands, net: Internet, tmp_path: Path, options: tuple[str, ...]
    ) -> None:
        """Nothing that somebody publishes can write on the terminal but what it is."""
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

    async def test_any_script(self, commands: Commands, net: Internet, tmp_path: Path) -> None:
        """A valid policy may speak in any script, and cannot turn the terminal's writing round."""
        words = "b\u00fccher \u202etset.live\u202c \u2028"
        net.publish("good.test", ok(policy_text() + f"note: {words}x\n".encode()))
        done = await commands.query(net, tmp_path, "good.test")
        assert done.code == 0
        assert not UNSAFE.search(done.out)
        assert r"{ policy_string = note: b\xfccher \u202etset.live" in done.steps("TLSRPT")[0]

    async def test_what_no_frame_has_room_for(
        self, commands: Commands, net: Internet, tmp_path: Path
    ) -> None:
        """What would be left out towards Postfix is left out here."""
        net.publish("good.test", ok(policy_text() + b"x: y\n" * 10_000))
        done = await commands.query(net, tmp_path, "good.test")
        (tlsrpt,) = done.steps("TLSRPT")
        assert tlsrpt == (
            "OK secure match=mx1.good.test servername=hostname policy_type=sts "
            "policy_domain=good.test mx_host_pattern=mx1.good.test"
        )

    async def test_no_connection(self, commands: Commands, net: Internet, tmp_path: Path) -> None:
        """Where there is no connection, the last line before the failure is where it was tried."""
        net.publish("good.test")
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))  # and does not listen
            https = {"https": {"proxy": f"http://127.0.0.1:{nobody.getsockname()[1]}"}}
            path = net.config(tmp_path, https)
            done = await asyncio.to_thread(commands.run, "query", "good.test", "--config", path)
        assert done.code == 2
        assert done.steps("address") == ["127.0.0.1"]
        assert done.steps("failure") == ["the proxy: Connection refused (sts-policy-fetch-error)"]
        assert not done.steps("TLS") + done.steps("status")

    async def test_nothing_is_kept(self, commands: Commands, net: Internet, tmp_path: Path) -> None:
        """Every query asks the network anew, and writes no file."""
        net.publish("good.test")
        for _ in range(2):
            assert (await commands.query(net, tmp_path, "good.test")).code == 0
        assert (net.queries("good.test"), net.gets("good.test")) == (2, 2)
        assert not (tmp_path / "policies.db").exists()

    async def test_idn(self, commands: Commands, net: Internet, tmp_path: Path) -> None:
        """A domain may be given as people write it."""
        net.publish("xn--bcher-kva.test")
        done = await commands.query(net, tmp_path, "Bücher.test.")
        assert (done.code, done.lines[0]) == (0, "xn--bcher-kva.test")

    async def test_long_policy(self, commands: Commands, net: Internet, tmp_path: Path) -> None:
        """A policy file of 64 KiB of line ends does not flood the terminal."""
        net.publish("long.test", ok(policy_text() + b"\n" * 60_000))
        done = await commands.query(net, tmp_path, "long.test")
        assert done.code == 0
        assert len(done.lines) < 300

    @pytest.mark.parametrize(
        "domain", ["[192.0.2.1]", "192.0.2.1", "a..test", "", "a" * 300, "\x1b[2J"]
    )
    def test_no_domain(self, commands: Commands, domain: str, tmp_path: Path) -> None:
        """What names no domain is a typing error, told in one printable line."""
        config = tmp_path / "c.yml"
        config.touch()
        done = commands.run("query", domain, "--config", config)
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
        assert done.err.startswith("postfix-mta-sts: ")
        assert not UNSAFE.search(done.err)


class TestCheckConfig:
    """`check-config FILE`."""

    def test_good(self, commands: Commands, tmp_path: Path) -> None:
        """A valid file is called so; exit code 0."""
        path = tmp_path / "c.yml"
        path.write_text("lookup: {timeout: 5s}\n")
        assert commands.run("check-config", path) == Done(0, f"{path}: valid\n", "")

    def test_bad(self, commands: Commands, tmp_path: Path) -> None:
        """What is wrong is one line on stderr: file, line, key, what was found, what is allowed."""
        path = tmp_path / "c.yml"
        path.write_text("lookup:\n  timeout: soon\n")
        done = commands.run("check-config", path)
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
        assert done.err.startswith(
            f"postfix-mta-sts: {path}:2: lookup.timeout: found 'soon'; allowed"
        )

    @pytest.mark.parametrize(
        "command", [["check-config"], ["serve", "--config"], ["query", "a.test", "--config"]]
    )
    def test_missing_file(self, commands: Commands, tmp_path: Path, command: list[str]) -> None:
        """A file that is not there is named, by every command that wants one."""
        path = tmp_path / "none.yml"
        done = commands.run(*command, path)
        expected = f"postfix-mta-sts: {path}: cannot be read: No such file or directory\n"
        assert done == Done(2, "", expected)


class TestVersion:
    """`version` and `--version`."""

    @pytest.mark.parametrize("word", ["version", "--version"])
    def test_version(self, commands: Commands, word: str) -> None:
        """Both print the package's version, and nothing else."""
        assert commands.run(word) == Done(0, f"postfix-mta-sts {__version__}\n", "")


class TestServe:
    """`serve`, as far as it does not come to serving: that is in test_daemon."""

    @pytest.fixture
    def logging_restored(self) -> Iterator[None]:
        """The test runner's own logging, after a command has set up its."""
        handlers, level = list(logging.root.handlers), logging.root.level
        yield
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)

    @pytest.mark.usefixtures("logging_restored")
    def test_address_in_use(self, commands: Commands, tmp_path: Path) -> None:
        """An address that cannot be had is a short message, not a traceback."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            address = f"127.0.0.1:{other.getsockname()[1]}"
            path = tmp_path / "c.yml"
            path.write_text(
                json.dumps(
                    {
                        "listen": [{"socketmap": address}],
                        "cache": {"path": str(tmp_path / "policies.db")},
                        "dane": {"mode": "off"},
                    }
                )
            )
            done = commands.run("serve", "--config", path)
        assert done.code == 2
        assert "DANE is off" in done.err  # what the log has said before
        assert done.err.splitlines()[1:] == [
            f"postfix-mta-sts: cannot listen on {address}: [Errno 98] Address already in use"
        ]

    @pytest.mark.parametrize("number", ["0", "-1", "1.5", "many", "100000", "\u0663"])
    def test_number_of_workers(self, commands: Commands, number: str) -> None:
        """What is no number of processes is a typing error."""
        done = commands.run("serve", "--config", "/nonexistent", f"--workers={number}")
        assert (done.code, done.out) == (2, "")
        assert "not a whole number from 1 to" in done.err


class TestTyping:
    """Typing errors, in a process of its own."""

    @pytest.mark.parametrize(
        "argv",
        [
            [],
            ["sreve"],
            ["query"],
            ["query", "a.test", "b.test"],
            ["query", "--jsn", "a.test"],
            ["query", "--js", "a.test"],
            ["check-config"],
            ["version", "please"],
            ["query", "a..test"],
        ],
        ids=" ".join,
    )
    def test_no_traceback(self, argv: list[str]) -> None:
        """A typing error is a short message on stderr and exit code 2."""
        done = child(*argv)
        assert (done.returncode, done.stdout) == (2, "")
        assert "postfix-mta-sts" in done.stderr
        assert "Traceback" not in done.stderr
        assert len(done.stderr.splitlines()) <= 5

    def test_help(self) -> None:
        """Every command is in the help, with a word of what it does."""
        done = child("--help")
        assert done.returncode == 0
        for command in ("serve", "query", "check-config", "version"):
            assert re.search(rf"^ +{command}\s+\w", done.stdout, re.MULTILINE)

    def test_reader_gone(self, tmp_path: Path) -> None:
        """Who has seen enough, as `head` has, is not shown a traceback."""
        path = tmp_path / "c.yml"
        path.touch()
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "postfix_mta_sts", "check-config", path],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout
        process.stdout.close()
        assert process.stderr
        with process.stderr:
            said = process.stderr.read()
        assert (process.wait(30), said) == (2, b"")


class TestImports:
    """A command is imported when it is asked for, and no other with it."""

    @pytest.mark.parametrize("word", list(cli._MODULES))
    def test_each_by_itself(self, word: str) -> None:
        """A command's own parser says the same, be it made with all others or not."""
        alone, among = (_choices(parser)[word] for parser in (cli.parser(word), cli.parser()))
        assert alone.format_help() == among.format_help()
        assert set(_choices(cli.parser(word))) == {word, "version"}

    @pytest.mark.parametrize("word", ["query", "nonsense", "--help"])
    def test_usage(self, word: str) -> None:
        """The program says the same of itself, whatever it is asked."""
        assert cli.parser(word).format_usage() == cli.parser().format_usage()

    @pytest.mark.parametrize(
        ("word", "spared"),
        [
            ("healthcheck", {"aiohttp", "aiodns", "aiosqlite", "http", "rich", "uvloop"}),
            ("status", {"aiohttp", "aiodns", "aiosqlite", "asyncio", "rich", "uvloop"}),
            (
                "serve",
                {"aiohttp", "aiodns", "dns", "rich"},
            ),
        ],
    )
    def test_spared(self, word: str, spared: set[str]) -> None:
        """Who asks for health each half minute, or begins the daemon, does without the rest."""
        script = f"import sys; from postfix_mta_sts.cli import main as cli; cli.parser({word!r})"
        script += f"; print(*set(sys.modules) & {spared})"
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
        )
        assert done.stdout == "\n"


def _choices(parser: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    (commands,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    choices: Mapping[str, argparse.ArgumentParser] = commands.choices
    return choices
