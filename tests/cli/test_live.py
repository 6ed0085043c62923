"""The preview and the spinner of commands that wait."""

import asyncio
import io

import pytest

from postfix_mta_sts.cli.live import Live, run_with


class Terminal(io.StringIO):
    """A terminal that keeps what was written to it."""

    def isatty(self) -> bool:
        """Yes."""
        return True


@pytest.mark.parametrize(
    ("stream", "terminal"), [(io.StringIO(), "xterm"), (Terminal(), "dumb"), (Terminal(), "")]
)
def test_no_spinner(stream: io.StringIO, terminal: str) -> None:
    """A pipe, and a terminal that cannot erase, get nothing."""
    output = Live(stream, terminal)
    output.spin("the TXT record")
    output.preview(["a"], "DANE")
    output.clear()
    assert stream.getvalue() == ""


def test_spinner() -> None:
    """The spinner turns, says what is waited for and for how long, and is erased in the end."""
    terminal = Terminal()
    now = [5.0]
    output = Live(terminal, "xterm", lambda: now[0])
    output.spin("the TXT record")
    now[0] = 17.4
    output.spin("DANE")
    output.clear()
    assert terminal.getvalue().split("\r\x1b[K") == [
        "",
        "| waiting for the TXT record (0 s)",
        "/ waiting for DANE (12 s)",
        "",
    ]


def test_preview(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found so far is drawn again in its place, cut to the terminal, and then erased."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("LINES", "4")
    terminal = Terminal()
    output = Live(terminal, "xterm")
    output.preview(["a" * 50], "b")
    output.preview(["a", "b", "c"], "b")
    output.clear()
    spins = [f"\r\x1b[K{frame} waiting for b (0 s)" for frame in "|/"]
    assert terminal.getvalue() == (
        f"\r\x1b[K{'a' * 39}\n{spins[0]}\r\x1b[1A\x1b[Jb\nc\n{spins[1]}\r\x1b[2A\x1b[J"
    )


def test_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The spinner stays within one line: a longer one could not be erased."""
    monkeypatch.setenv("COLUMNS", "20")
    terminal = Terminal()
    Live(terminal, "xterm").spin("a" * 100)
    assert len(terminal.getvalue().removeprefix("\r\x1b[K")) == 19


async def test_error_of_the_work() -> None:
    """An error of the work is raised."""

    async def fail() -> None:
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        await run_with(fail(), lambda: None)


async def test_error_of_the_output() -> None:
    """If nothing can be printed, the work is cancelled."""
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    def update() -> None:
        if update.calls:  # type: ignore[attr-defined]
            raise BrokenPipeError
        update.calls = 1  # type: ignore[attr-defined]

    update.calls = 0  # type: ignore[attr-defined]
    with pytest.raises(BrokenPipeError):
        await run_with(work(), update)
    assert ended.is_set()
