"""Ctrl-C on a real terminal while a command waits (D13, D14): what was seen stays, exit code 130.

Each command ends without a traceback, and leaves the terminal as it was (`Terminal.end`).
"""

import asyncio
import contextlib
import json
import os
import re
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest

from postfix_mta_sts.admin.client import ControlClient
from tests.support.commands import Commands
from tests.support.internet import Internet, internet
from tests.support.postfix_programs import PostfixPrograms
from tests.support.terminals import Terminal, on_terminal

INTERRUPTED: Final = 130
TIMEOUT: Final = 60.0
"""Seconds; only a failing test waits that long."""
GOES_ON: Final = "interrupted; the daemon goes on with attempts under way"
ENTRY: Final = {
    "domain": "good.test", "answer": "secure", "why": "enforce",
    "exception": None, "mode": "enforce", "id": "a", "fetched_at": 1,
    "expires_at": 2, "asked_at": 1, "asked_count": 7, "failure": None, "overdue": False,
}  # fmt: skip
FAILED: Final = {"outcome": "failed", "failure": {"reason": "HTTP 404"}}

Answer: TypeAlias = Callable[[StreamWriter], Coroutine[Any, Any, None]]


def sent(*values: object) -> Answer:
    """A daemon that sends lines of JSON."""

    async def send(writer: StreamWriter) -> None:
        lines = "".join(json.dumps(value) + "\n" for value in values)
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n" + lines.encode())

    return send


class Daemon:
    """A false daemon: it answers some requests, and is silent for the others."""

    def __init__(self, config: Path, answers: dict[str, Answer]) -> None:
        self.config = config
        self.asked = asyncio.Event()
        """Set by the first request without an answer."""
        self._answers = answers

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Serve a connection."""
        with contextlib.closing(writer), contextlib.suppress(ConnectionError):
            request = await reader.read(4096)
            target = request.decode().split(" ")[1] if b"HTTP" in request else ""
            if answer := self._answers.get(target):
                await answer(writer)
            else:
                self.asked.set()
                await reader.read()  # until the command ends


@asynccontextmanager
async def daemon(folder: Path, answers: dict[str, Answer]) -> AsyncIterator[Daemon]:
    """Start a false daemon with a control socket and a listener."""
    control, listener, config = folder / "control", folder / "listener", folder / "c.yml"
    listen = [{"socketmap": f"unix:{listener}"}]
    config.write_text(json.dumps({"control": {"path": str(control)}, "listen": listen}))
    false = Daemon(config, answers)
    async with (
        await asyncio.start_unix_server(false.serve, control),
        await asyncio.start_unix_server(false.serve, listener),
    ):
        yield false


async def interrupted(terminal: Terminal, shown: str = "") -> list[str]:
    """Wait for a text, type Ctrl-C, and return the lines on the screen."""
    async with asyncio.timeout(TIMEOUT):
        await asyncio.to_thread(terminal.until, shown)
        assert await asyncio.to_thread(terminal.interrupt) == INTERRUPTED, terminal.written
    assert "Traceback" not in terminal.written
    return terminal.screen


SILENT: Final = [
    ("status",),
    ("policy", "list"),
    ("policy", "show", "good.test"),
    ("policy", "forget", "good.test"),
    ("healthcheck",),
]


@pytest.mark.parametrize("words", SILENT, ids=" ".join)
async def test_a_daemon_that_does_not_answer(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Nothing was seen, and nothing is said."""
    async with daemon(tmp_path, {}) as false:
        with on_terminal(*words, "--config", false.config) as terminal:
            async with asyncio.timeout(TIMEOUT):
                await false.asked.wait()
            assert await interrupted(terminal) == [""]


def test_policy_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commands: Commands) -> None:
    """The policies that have come are printed."""

    def lines(*_: object) -> Iterator[object]:
        yield ENTRY
        raise KeyboardInterrupt

    monkeypatch.setattr(ControlClient, "lines", lines)
    (tmp_path / "c.yml").touch()
    done = commands.run("policy", "list", "--config", tmp_path / "c.yml")
    assert done.code == INTERRUPTED
    assert [line.split()[:2] for line in done.lines] == [
        ["DOMAIN", "ANSWER"],
        ["good.test", "secure"],
    ]


async def test_policy_refresh(tmp_path: Path) -> None:
    """A spinner shows that the daemon has not answered; Ctrl-C does not end its attempt."""
    async with daemon(tmp_path, {}) as false:
        with on_terminal("policy", "refresh", "good.test", "--config", false.config) as terminal:
            shown = await interrupted(terminal, "- waiting for good.test (")
    assert shown == [f"good.test: {GOES_ON}"]


async def test_policy_refresh_failing(tmp_path: Path) -> None:
    """The outcomes so far are printed, and their number."""
    listed = [{"domain": f"{name}.test"} for name in ("bad", "slow", "slower")]
    answers = {
        "/policies?failing=yes": sent(*listed),
        "/policies/bad.test/refresh": sent(FAILED),
    }
    async with daemon(tmp_path, answers) as false:
        with on_terminal("policy", "refresh", "--failing", "--config", false.config) as terminal:
            shown = await interrupted(terminal, " waiting for 2 domains (")
    assert shown == [
        "bad.test: no policy fetched: HTTP 404",
        f"refreshed 1 of 3, still failing 1; {GOES_ON}",
    ]


@pytest.fixture
def commands(capsys: pytest.CaptureFixture[str]) -> Commands:
    """Runs commands in this process."""
    return Commands(capsys)


@pytest.fixture
async def net(tmp_path: Path) -> AsyncIterator[Internet]:
    """An Internet on loopback, with a domain whose Policy Host never answers."""
    async with internet(tmp_path) as net:
        net.publish("slow.test", nothing_comes)
        yield net


async def nothing_comes(_: StreamWriter) -> None:
    """A response that never comes."""
    await asyncio.Event().wait()


async def test_query(net: Internet, tmp_path: Path) -> None:
    """Steps appear as they happen, above the spinner; the verdict takes their place at the end."""
    path = PostfixPrograms(tmp_path / "bin").path
    words = ("query", "slow.test", "--config", net.config(tmp_path))
    with on_terminal(*words, PATH=path) as terminal:
        async with asyncio.timeout(TIMEOUT):
            await asyncio.to_thread(terminal.until, "waiting for the response of 127.0.0.1 (")
        preview = terminal.screen
        await interrupted(terminal)
    assert any(line.startswith("  record    _mta-sts.slow.test 300 TXT ") for line in preview)
    assert any(line.startswith("  cert      DNS:mta-sts.slow.test") for line in preview)
    assert not any("stopped" in line for line in preview)
    last = drawn(terminal.written)
    assert last[0] == "What happens to mail to slow.test is not known yet"
    assert "  stopped   while waiting for the response of 127.0.0.1" in last[: last.index("")]
    assert any(line.startswith("  record    _mta-sts.slow.test 300 TXT ") for line in last)


def drawn(written: str) -> list[str]:
    """The lines that stay on the terminal: those after the last preview was erased (ECMA-48)."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", written.rpartition("\x1b[J")[2])
    return text.removeprefix("\r\x1b[K").replace("\r\n", "\n").splitlines()


async def test_seed(net: Internet, tmp_path: Path) -> None:
    """The progress bar is erased, and the summary has what was done and what was not."""
    listed = tmp_path / "list"
    listed.write_text("none.test\nslow.test\n")
    words = ("seed", listed, "--rate", "1000", "--config", net.config(tmp_path))
    with on_terminal(*words) as terminal:
        await net.hosts.gets.reached("mta-sts.slow.test")
        shown = await interrupted(terminal, "1/2")
    assert shown[-2:] == ["       1 no policy", "       1 not looked up: interrupted"]


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (("check-config",), ""),
        (("seed",), ""),
        (("import",), "interrupted; the same command imports the rest"),
    ],
    ids=lambda each: each if isinstance(each, str) else each[0],
)
async def test_a_file_that_never_ends(tmp_path: Path, words: tuple[str], shown: str) -> None:
    """A command that reads from a pipe or from the terminal ends too."""
    os.mkfifo(fifo := tmp_path / "fifo")
    config = tmp_path / "c.yml"
    config.write_text(json.dumps({"cache": {"path": str(tmp_path / "policies.db")}}))
    more = () if words[0] == "check-config" else ("--config", config)
    with on_terminal(*words, fifo, *more) as terminal:
        writer = await asyncio.to_thread(fifo.open, "wb")  # returns when the command opens it
        with writer:
            assert (await interrupted(terminal))[-1] == shown
