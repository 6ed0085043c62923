"""Commands that are interrupted, or whose reader ends (D13, D14): no traceback, nothing lost."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.dns import Fault
from tests.support.internet import Internet, internet
from tests.support.policy_host import ok, policy_text, reply
from tests.support.postfix_programs import PostfixPrograms

TIMEOUT: Final = 60.0
"""Seconds; only a failing test waits that long."""
INTERRUPTED: Final = 130


@pytest.fixture
async def net(tmp_path: Path) -> AsyncIterator[Internet]:
    """An Internet on loopback."""
    async with internet(tmp_path) as net:
        yield net


async def started(*words: str | Path, stdin: int | None = None) -> Process:
    """Start a command in a child process."""
    command = [sys.executable, "-m", "postfix_mta_sts", *map(str, words)]
    return await asyncio.create_subprocess_exec(*command, stdin=stdin, stdout=PIPE, stderr=PIPE)


async def lines_until(process: Process, start: str) -> list[str]:
    """Read the output of a command up to the first line with this start."""
    assert process.stdout
    lines: list[str] = []
    async with asyncio.timeout(TIMEOUT):
        while not lines or not lines[-1].startswith(start):
            line = await process.stdout.readline()
            assert line, (lines, await process.communicate())
            lines.append(line.decode().rstrip("\n"))
    return lines


async def interrupt(process: Process) -> tuple[int | None, str, str]:
    """Send SIGINT, as Ctrl-C does; return the exit code, and the rest of the output."""
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(TIMEOUT):
        out, err = await process.communicate()
    return process.returncode, (out or b"").decode(), (err or b"").decode()


async def silence(_: asyncio.StreamWriter) -> None:
    """A response that never comes."""
    await asyncio.Event().wait()


async def half_a_policy(writer: asyncio.StreamWriter) -> None:
    """The head of a response and a part of its body."""
    writer.write(ok(policy_text())[:-20])
    await silence(writer)


class TestQuery:
    """`query` of a domain whose servers are silent (D13); see `test_ctrl_c.py` for a terminal."""

    @pytest.fixture(autouse=True)
    def no_other_postfix(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A Postfix that does nothing, in place of that of the machine."""
        PostfixPrograms(tmp_path / "bin").use(monkeypatch)

    async def test_a_silent_policy_host(self, net: Internet, tmp_path: Path) -> None:
        """In a pipe Ctrl-C prints the verdict so far, what was waited for, and what was seen."""
        net.publish("slow.test", silence)
        process = await started("query", "slow.test", "--config", net.config(tmp_path))
        async with asyncio.timeout(TIMEOUT):
            await net.hosts.gets.reached("mta-sts.slow.test")
        code, out, errors = await interrupt(process)
        lines = out.splitlines()
        assert (code, errors) == (INTERRUPTED, "")
        assert "slow.test" in lines[0]
        assert "  stopped   while waiting for the response of 127.0.0.1" in lines[: lines.index("")]
        assert '  record    _mta-sts.slow.test 300 TXT "v=STSv1; id=id1;"' in lines
        assert "  address   127.0.0.1" in lines

    @pytest.mark.parametrize("step", ["TXT", "A"])
    async def test_silent_dns(self, net: Internet, tmp_path: Path, step: str) -> None:
        """Ctrl-C says which answer of the DNS was missing."""
        net.publish("slow.test")
        name = {"TXT": "_mta-sts.slow.test", "A": "mta-sts.slow.test"}[step]
        net.dns.zone[f"{name} {step}"] = Fault.SILENCE
        config = net.config(tmp_path, {"https": {"proxy": None}, "dns": {"timeout": "30s"}})
        process = await started("query", "slow.test", "--timeout", "60s", "--config", config)
        async with asyncio.timeout(TIMEOUT):
            await net.dns.queries.reached((name, step))
        code, out, errors = await interrupt(process)
        missing = {"TXT": "the TXT record", "A": "the addresses of mta-sts.slow.test"}[step]
        assert (code, errors) == (INTERRUPTED, "")
        assert missing in stopped(out)

    async def test_a_body_that_stalls(self, net: Internet, tmp_path: Path) -> None:
        """The certificate is shown, and how much of the policy has come."""
        net.publish("slow.test", half_a_policy)
        process = await started("query", "slow.test", "--config", net.config(tmp_path))
        async with asyncio.timeout(TIMEOUT):
            await net.hosts.gets.reached("mta-sts.slow.test")
        code, out, errors = await interrupt(process)
        assert (code, errors) == (INTERRUPTED, "")
        assert "  cert      DNS:mta-sts.slow.test" in out.splitlines()
        assert "the re" in stopped(out)  # `response` or `rest`: it may be lost

    async def test_silent_tlsa(self, net: Internet, tmp_path: Path) -> None:
        """A policy that was found is printed although the look-up of DANE goes on."""
        net.publish("good.test")
        net.vouch("good.test")
        tlsa = "_25._tcp.mx1.good.test"
        net.dns.zone[f"{tlsa} TLSA"] = Fault.SILENCE
        changes = {"dane": {"mode": "on"}, "dns": {"timeout": "30s"}}
        config = net.config(tmp_path, changes)
        process = await started("query", "good.test", "--timeout", "60s", "--config", config)
        async with asyncio.timeout(TIMEOUT):
            await net.dns.queries.reached((tlsa, "TLSA"))
            await net.hosts.gets.reached("mta-sts.good.test")
        code, out, errors = await interrupt(process)
        assert (code, errors) == (INTERRUPTED, "")
        assert "the DANE records" in stopped(out)
        assert "  MX        10 mx1.good.test 127.0.0.1" in out

    async def test_json(self, net: Internet, tmp_path: Path) -> None:
        """With `--json`, Ctrl-C prints the object so far."""
        net.publish("slow.test", silence)
        config = net.config(tmp_path)
        process = await started("query", "--json", "slow.test", "--config", config)
        async with asyncio.timeout(TIMEOUT):
            await net.hosts.gets.reached("mta-sts.slow.test")
        code, out, errors = await interrupt(process)
        seen = json.loads(out)
        assert (code, errors, seen["network"]["policy_id"]) == (INTERRUPTED, "", "id1")
        assert seen["reply"] is None
        assert "the response of 127.0.0.1" in seen["waited_for"]

    async def test_watch(self, net: Internet, tmp_path: Path) -> None:
        """Ctrl-C between two times of `--watch` has no traceback either, and prints no more."""
        net.publish("bad.test", reply(500))
        words = ("bad.test", "--watch", "60s", "--config", net.config(tmp_path))
        process = await started("query", *words)
        await lines_until(process, "20")
        assert await interrupt(process) == (INTERRUPTED, "", "")

    async def test_the_reader_ends(self, net: Internet, tmp_path: Path) -> None:
        """If the reader of the output ends, as `head -1` does, there is no traceback."""
        net.publish("bad.test", reply(500))
        ours, theirs = os.pipe()
        config = str(net.config(tmp_path))
        words = ["-m", "postfix_mta_sts", "query", "bad.test", "--watch", "1s", "--config", config]
        process = await asyncio.create_subprocess_exec(
            sys.executable, *words, stdout=theirs, stderr=PIPE
        )
        os.close(theirs)
        async with asyncio.timeout(TIMEOUT):
            assert b"bad.test" in await asyncio.to_thread(os.read, ours, 4096)
            os.close(ours)
            _, errors = await process.communicate()
        assert (process.returncode, errors) == (2, b"")

    @pytest.mark.parametrize(("domain", "code"), [("plain.test", 1), ("bad.test", 2)])
    async def test_the_reader_ends_before_the_answer(
        self, net: Internet, tmp_path: Path, domain: str, code: int
    ) -> None:
        """The exit code says what happens to mail, also through `head -1`."""
        net.deliver_to("plain.test")
        net.publish("bad.test", reply(500))
        ours, theirs = os.pipe()
        os.close(ours)
        config = str(net.config(tmp_path))
        words = ["-m", "postfix_mta_sts", "query", domain, "--config", config]
        process = await asyncio.create_subprocess_exec(
            sys.executable, *words, stdout=theirs, stderr=PIPE
        )
        os.close(theirs)
        async with asyncio.timeout(TIMEOUT):
            _, errors = await process.communicate()
        assert (process.returncode, errors) == (code, b"")

    async def test_output_that_cannot_be_written(self, net: Internet, tmp_path: Path) -> None:
        """A full disk is no verdict: one line, and the exit code for "cannot tell"."""
        net.publish("good.test")
        config = str(net.config(tmp_path))
        words = ["-m", "postfix_mta_sts", "query", "good.test", "--config", config]
        full = os.open("/dev/full", os.O_WRONLY)
        process = await asyncio.create_subprocess_exec(
            sys.executable, *words, stdout=full, stderr=PIPE
        )
        os.close(full)
        async with asyncio.timeout(TIMEOUT):
            _, errors = await process.communicate()
        reason = b"postfix-mta-sts: standard output: No space left on device\n"
        assert (process.returncode, errors) == (3, reason)


def stopped(out: str) -> str:
    """What a command waited for when it was interrupted."""
    (line,) = (line for line in out.splitlines() if line.startswith("  stopped "))
    return line.removeprefix("  stopped   while waiting for ")


class TestOthers:
    """Other commands that are interrupted (D14); see `test_ctrl_c.py`."""

    @pytest.mark.parametrize("module", ["cli.main", "config.settings", "network.clients"])
    def test_while_modules_are_imported(self, module: str) -> None:
        """Ctrl-C in the first tenth of a second has no traceback either."""
        script = """
            import builtins, runpy, sys
            real = builtins.__import__
            def hooked(name, *rest, **named):
                if name == "postfix_mta_sts." + sys.argv[2]:
                    raise KeyboardInterrupt
                return real(name, *rest, **named)
            builtins.__import__ = hooked
            sys.argv[0] = "postfix-mta-sts"
            runpy.run_module("postfix_mta_sts", run_name="__main__")
        """
        words = [sys.executable, "-c", textwrap.dedent(script), "query", module]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=TIMEOUT)
        assert (done.returncode, done.stdout, done.stderr) == (INTERRUPTED, "", "")


class TestBrokenPipe:
    """The reader of the output ends first, as `head` does."""

    @pytest.mark.parametrize(
        "words", [("--help",), ("version",), ("policy", "list", "--json")], ids=" ".join
    )
    async def test_short_output(self, tmp_path: Path, words: tuple[str, ...]) -> None:
        """Output that stays in the buffer until the end causes no traceback either."""
        path = tmp_path / "sock"
        answer = b'HTTP/1.0 200 OK\r\n\r\n{"domain": "good.test"}\n'

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            writer.close()

        (tmp_path / "c.yml").write_text(json.dumps({"control": {"path": str(path)}}))
        config = ("--config", tmp_path / "c.yml") if words[0] == "policy" else ()
        ours, theirs = os.pipe()
        os.close(ours)
        async with await asyncio.start_unix_server(serve, path):
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *["-m", "postfix_mta_sts", *words, *config],
                stdout=theirs,
                stderr=PIPE,
                env={**os.environ, "PYTHONUNBUFFERED": ""},
            )
            os.close(theirs)
            async with asyncio.timeout(TIMEOUT):
                _, errors = await process.communicate()
        assert (process.returncode, errors) == (2, b"")
