"""Running programs: what they print, and what happens to those that do not end."""

import asyncio
import os
import re
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.permissions import Account
from postfix_mta_sts.postfix.programs import (
    MissingProgramError,
    Output,
    ProgramError,
    lines,
    run,
    start,
)
from tests.support.plain_user import as_plain_user
from tests.support.scripts import script

on_both_loops = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])
NOBODY = Account(65_534, 65_534)
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change its user")


@on_both_loops
async def test_what_it_prints(tmp_path: Path) -> None:
    """Output, errors and the exit code are told apart; its input is empty."""
    program = script(tmp_path / "say", 'read line; echo "$1$line"; echo "${PWD}" >&2; exit 3')
    output = await run([program, "hello"], folder=tmp_path)
    assert output == Output(3, "hello\n", f"{tmp_path}\n")


@on_both_loops
async def test_not_installed(tmp_path: Path) -> None:
    """A program that is nowhere is an error of its own, which names it."""
    with pytest.raises(MissingProgramError, match=r"^no-such-program was not found$"):
        await run(["no-such-program"])


@on_both_loops
async def test_not_started(tmp_path: Path) -> None:
    """A program that the system refuses to start is an error."""
    with pytest.raises(ProgramError, match=r"^cannot run"):
        await run([script(tmp_path / "say", "true"), "x" * 10_000_000])


@on_both_loops
async def test_no_folder(tmp_path: Path) -> None:
    """A folder that is missing is an error."""
    with pytest.raises(ProgramError, match=r"^cannot run"):
        await run([script(tmp_path / "say", "true")], folder=tmp_path / "missing")


@only_root
async def test_as_another_user() -> None:
    """Root can give a program to a user; it has none of the groups of root."""
    output = await run(["sh", "-c", "id -u; id -G"], account=NOBODY)
    assert output == Output(0, "65534\n65534\n", "")


@only_root
async def test_a_folder_of_root(tmp_path: Path) -> None:
    """The program starts in its folder, also if its user could not enter that."""
    tmp_path.chmod(0o700)
    output = await run(["/bin/pwd", "-P"], folder=tmp_path, account=NOBODY, timeout=30)
    assert output == Output(0, f"{tmp_path.resolve()}\n", "")


def test_another_user_is_refused() -> None:
    """Others than root are told that they may not."""
    imports = (
        "import asyncio\n"
        "from postfix_mta_sts.permissions import Account\n"
        "from postfix_mta_sts.postfix.programs import ProgramError, run"
    )
    code = (
        "try:\n"
        "    asyncio.run(run(['sh', '-c', 'id -u'], account=Account(65_533, 65_533)))\n"
        "except ProgramError as error:\n"
        "    print(error)"
    )
    printed = as_plain_user(imports, code)
    assert re.fullmatch(r"cannot run sh: .*not permitted\n", printed)


@pytest.mark.parametrize("stream", [1, 2])
async def test_endless_output(tmp_path: Path, stream: int) -> None:
    """A program that prints too much is killed at once, also if only its errors are long."""
    program = script(tmp_path / "say", f"exec yes >&{stream}")
    with pytest.raises(ProgramError, match=r"^say printed more than 100 bytes$"):
        await run([program], timeout=100, limit=100)


async def test_hangs(tmp_path: Path) -> None:
    """A program that does not end is killed, and so are those that it has started."""
    program = script(tmp_path / "say", "sleep 600 & sleep 600; true")
    with pytest.raises(ProgramError, match=r"^say did not end within 0.2 s$"):
        await run([program], timeout=0.2)


@on_both_loops
@pytest.mark.parametrize("turns", range(8))
async def test_cancelled_at_its_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, turns: int
) -> None:
    """A program whose start is cancelled is ended, and nothing is logged of it."""
    program = script(tmp_path / "say", "true")
    task = asyncio.create_task(run([program]))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not caplog.records


@on_both_loops
async def test_another_part_of_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PATH is searched first."""
    script(tmp_path / "postconf", "echo found")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert await run(["postconf"]) == Output(0, "found\n", "")


@on_both_loops
async def test_lines_of_a_process(tmp_path: Path) -> None:
    """Lines arrive while the program still runs; a last line need not have an end."""
    program = script(tmp_path / "say", "echo one; echo two; printf three")
    async with start([program]) as process:
        seen = [line async for some in lines(process.stdout) for line in some]
    assert seen == [b"one", b"two", b"three"]


@given(st.lists(st.binary(max_size=12)), st.integers(1, 40))
async def test_any_division(pieces: list[bytes], longest: int) -> None:
    """However the output is divided, no byte is lost, and no part of a line is kept for long."""
    stream = asyncio.StreamReader()
    for piece in pieces:
        stream.feed_data(piece)
    stream.feed_eof()
    seen = [line async for some in lines(stream, longest=longest) for line in some]
    data = b"".join(pieces)
    assert b"".join(seen) == data.replace(b"\n", b"")
    if len(data) <= longest:
        assert seen == data.split(b"\n")[: None if data.rpartition(b"\n")[2] else -1]


async def test_no_stream() -> None:
    """A process without a pipe has no lines."""
    assert [some async for some in lines(None)] == []


@on_both_loops
@pytest.mark.parametrize("stream", [1, 2])
async def test_output_that_nobody_reads(tmp_path: Path, stream: int) -> None:
    """A program whose output is not read to its end is ended all the same."""
    program = script(tmp_path / "say", f"echo start >&2; exec yes >&{stream}")
    async with asyncio.timeout(30):
        async with start([program]) as process:
            assert process.stderr
            await process.stderr.readexactly(6)
            unread = process.stdout if stream == 1 else process.stderr
            while not is_full(unread):  # noqa: ASYNC110 (a stream has no event for it)
                await asyncio.sleep(0)
    assert process.returncode == -signal.SIGKILL


@on_both_loops
async def test_what_it_leaves_behind(tmp_path: Path) -> None:
    """A program that has left its session, and holds the output open, is not waited for."""
    program = script(tmp_path / "say", "setsid sleep 100 & echo $!")
    async with asyncio.timeout(30):
        async with start([program]) as process:
            assert process.stdout
            left = int(await process.stdout.readline())
    os.kill(left, signal.SIGKILL)


def is_full(stream: asyncio.StreamReader | None) -> bool:
    """Whether a stream takes no more until somebody reads from it."""
    return stream is not None and bool(stream._paused)  # type: ignore[attr-defined]
