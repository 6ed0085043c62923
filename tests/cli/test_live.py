"""Lines that are printed as they become known, and the spinner."""

import asyncio
import io

import pytest

from postfix_mta_sts.cli.live import Live, run_with


class Terminal(io.StringIO):
    """A terminal that keeps what was written to it."""

    def isatty(self) -> bool:
        """Yes."""
        return True


def test_each_line_once() -> None:
    """A line is printed when it is first shown; equal lines count."""
    pipe = io.StringIO()
    output = Live(pipe, "xterm")
    output.show(["a", "b"])
    output.show(["a", "b", "b", "c"])
    assert pipe.getvalue() == "a\nb\nb\nc\n"


@pytest.mark.parametrize(
    ("stream", "terminal"), [(io.StringIO(), "xterm"), (Terminal(), "dumb"), (Terminal(), "")]
)
def test_no_spinner(stream: io.StringIO, terminal: str) -> None:
    """A pipe, and a terminal that cannot erase, get lines only."""
    output = Live(stream, terminal)
    output.spin("the TXT record")
    output.show(["a"])
    assert stream.getvalue() == "a\n"


def test_spinner() -> None:
    """The spinner turns, says what is waited for and for how long, and is erased before a line."""
    terminal = Terminal()
    now = [5.0]
    output = Live(terminal, "xterm", lambda: now[0])
    output.spin("the TXT record")
    now[0] = 17.4
    output.spin("DANE")
    output.show(["a"])
    assert terminal.getvalue().split("\r\x1b[K") == [
        "",
        "| waiting for the TXT record (0 s)",
        "/ waiting for DANE (12 s)",
        "a\n",
    ]


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
