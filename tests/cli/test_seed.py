"""`seed`: which domains are looked up, what is stored, and the summary."""

import asyncio
import os
import pty
import signal
import subprocess
import sys
import time
from asyncio.subprocess import PIPE
from dataclasses import dataclass
from pathlib import Path

import pytest

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.store import Row
from postfix_mta_sts.store.sqlite.store import SqliteStore
from tests.support.daemons import TIMEOUT
from tests.support.dns import Fault
from tests.support.internet import Internet
from tests.support.policy_host import ok, policy_text

GOOD = Domain("good.test")


@dataclass
class Done:
    """The result of a command."""

    code: int | None
    lines: list[str]
    err: str


def command(net: Internet, folder: Path, *words: str) -> list[str]:
    """Return the command line of `seed` with a configuration for `net`."""
    config = ["--config", str(net.config(folder))]
    return [sys.executable, "-m", "postfix_mta_sts", "seed", *words, *config, "--rate", "1000"]


async def run(net: Internet, folder: Path, text: str, *words: str) -> Done:
    """Run the command with a list on standard input."""
    words = tuple(command(net, folder, "-", *words))
    process = await asyncio.create_subprocess_exec(*words, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    async with asyncio.timeout(TIMEOUT):
        out, err = await process.communicate(text.encode())
    return Done(process.returncode, out.decode().splitlines(), err.decode())


async def row(folder: Path, domain: Domain = GOOD) -> Row | None:
    """Return the row of a domain in the store."""
    store = await SqliteStore.open(folder / "policies.db")
    try:
        return await store.row(domain)
    finally:
        await store.close()


async def test_modes(net: Internet, tmp_path: Path) -> None:
    """The summary counts the domains by mode, without policy, and failed by reason."""
    net.publish("good.test")
    net.publish("other.test")
    net.publish("testing.test", ok(policy_text(mode="testing")))
    net.publish("none.test", ok(policy_text(mode="none")))
    net.publish("bad.test", ok(b"x"))
    net.dns.zone["_mta-sts.unanswered.test TXT"] = Fault.SERVFAIL
    names = ["good", "other", "testing", "none", "bad", "unanswered", "nothing"]
    done = await run(net, tmp_path, "".join(f"{name}.test # why\n" for name in names))
    assert (done.code, done.err) == (0, "")
    assert done.lines[0] == "       2 enforce"
    assert sorted(done.lines[1:]) == [
        "       1 failed: dns-failure",
        "       1 failed: invalid-policy",
        "       1 no policy",
        "       1 none",
        "       1 testing",
    ]


async def test_stored(net: Internet, tmp_path: Path) -> None:
    """Policies are stored and count as asked for, so that the daemon renews them."""
    net.publish("good.test")
    before = time.time()
    await run(net, tmp_path, "good.test\n")
    found = await row(tmp_path)
    assert found
    assert found.state.policy_id == "id1"
    assert before <= found.asked_at <= time.time()


async def test_fresh(net: Internet, tmp_path: Path) -> None:
    """A fresh stored policy is not fetched again, but counted, and counts as asked for."""
    net.publish("good.test")
    await run(net, tmp_path, "good.test\n")
    first = await row(tmp_path)
    done = await run(net, tmp_path, "GOOD.test\n")
    second = await row(tmp_path)
    assert done.lines == ["       1 enforce"]
    assert (net.gets("good.test"), net.queries("good.test")) == (1, 1)
    assert first
    assert second
    assert first.asked_at < second.asked_at


async def test_bad_lines(net: Internet, tmp_path: Path) -> None:
    """Lines without a valid domain are printed with their number, in ASCII, and counted."""
    net.publish("good.test")
    done = await run(net, tmp_path, "good.test\nx y\n\x1b[2J\n" + "-\n" * 30)
    assert done.code == 0
    assert done.lines == ["       1 enforce", "      32 lines without a valid domain"]
    errors = done.err.splitlines()
    assert errors[:2] == [
        "-:2: not a domain name: 'x y'",
        r"-:3: not a domain name: '\x1b[2J'",
    ]
    assert (len(errors), errors[-1]) == (21, "-: 12 more lines without a valid domain")


async def test_verbose(net: Internet, tmp_path: Path) -> None:
    """With -v failures are logged with their reason."""
    net.publish("bad.test", ok(b"x"))
    done = await run(net, tmp_path, "bad.test\n", "-v")
    assert "bad.test: " in done.err
    assert "line 1: no colon" in done.err


async def test_interrupted(net: Internet, tmp_path: Path) -> None:
    """After SIGINT the summary has the results so far and the number of domains left."""

    async def never(_: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    net.publish("good.test")
    await run(net, tmp_path, "good.test\n")
    net.publish("slow.test", never)
    path = tmp_path / "list"
    path.write_text("good.test\nslow.test\n")
    words = command(net, tmp_path, str(path))
    process = await asyncio.create_subprocess_exec(*words, stdout=PIPE, stderr=PIPE)
    async with asyncio.timeout(TIMEOUT):
        await net.hosts.gets.reached("mta-sts.slow.test")
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert (process.returncode, err) == (130, b"")
    assert out.decode().splitlines() == ["       1 enforce", "       1 not looked up: interrupted"]


async def test_progress(net: Internet, tmp_path: Path) -> None:
    """On a terminal a progress bar is shown on standard error, and removed at the end."""
    net.publish("good.test")
    ours, theirs = pty.openpty()
    path = tmp_path / "list"
    path.write_text("good.test\n")
    process = await asyncio.create_subprocess_exec(
        *command(net, tmp_path, str(path)),
        stdout=PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(theirs)
    out, _ = await process.communicate()
    shown = os.read(ours, 65_536).decode()
    os.close(ours)
    assert out == b"       1 enforce\n"
    assert "1/1" in shown
    assert shown.rstrip().endswith("\x1b[2K")


@pytest.mark.parametrize("rate", ["0", "-1", "0.0", "fast", "1e3", "1001", "\u0663", ""])
def test_rate(tmp_path: Path, rate: str) -> None:
    """A wrong rate is an error in the arguments."""
    words = [sys.executable, "-m", "postfix_mta_sts", "seed", "-", f"--rate={rate}"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, input="")
    assert done.returncode == 2
    assert "not a number above 0, and at most 1000" in done.stderr


def test_missing_list(tmp_path: Path) -> None:
    """For an unreadable list the command prints one line on standard error; exit code 2."""
    config = tmp_path / "c.yml"
    config.touch()
    words = [sys.executable, "-m", "postfix_mta_sts", "seed", "/none", "--config", str(config)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "postfix-mta-sts: /none: No such file or directory\n"
