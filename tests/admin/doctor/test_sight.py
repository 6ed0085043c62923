"""Parts that are seen, late, denied or broken: what takes their place, and what is noted."""

import asyncio

import pytest

from postfix_mta_sts.admin.doctor.report import Unseen
from postfix_mta_sts.admin.doctor.sight import Sight
from postfix_mta_sts.errors import UserError
from postfix_mta_sts.mtasts.errors import DnsFailureError

LONG = 60.0
"""Seconds: enough for a busy machine."""


def sight(*, is_root: bool = False, budget: float = LONG) -> Sight:
    """A look at nothing yet."""
    return Sight(is_root=is_root, budget=budget)


async def never() -> str:
    """Wait for ever."""
    await asyncio.Event().wait()
    return "seen"


async def seen() -> str:
    """Find something at once."""
    return "seen"


async def test_seen() -> None:
    """What is found is returned, and nothing is noted."""
    eyes = sight()
    assert await eyes.look("a part", seen, "otherwise") == "seen"
    assert eyes.unseen == ()


async def test_late() -> None:
    """A part that takes longer than all may take is left out, and another one is not."""
    eyes = sight(budget=0.01)
    found = await asyncio.gather(
        eyes.look("slow", never, "otherwise"), eyes.look("quick", seen, "otherwise")
    )
    assert [*found] == ["otherwise", "seen"]
    assert eyes.unseen == (Unseen("slow", "not finished within 0.01 s; run doctor again"),)


async def test_hostile_names() -> None:
    """A folder of Postfix with a hostile name does not move the cursor while it is looked at."""
    eyes, shown = sight(budget=0.01), list[str]()

    async def late() -> str:
        shown.extend(eyes.pending)
        return await never()

    assert await eyes.look("Postfix in /etc/\x1b[2J", late, "otherwise") == "otherwise"
    assert [*shown, *(each.what for each in eyes.unseen)] == [r"Postfix in /etc/\x1b[2J"] * 2
    assert eyes.pending == ()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (PermissionError(13, "Permission denied", "/a/b"), "/a/b: Permission denied"),
        (FileNotFoundError(2, "No such file or directory", "/a"), "/a: No such file or directory"),
        (OSError("no Uid in /proc"), "no Uid in /proc"),
        (UserError("postconf failed: main.cf"), "postconf failed: main.cf"),
        (DnsFailureError("SERVFAIL"), "SERVFAIL"),
        (UserError("a\nb\x1b[2J"), r"a\nb\x1b[2J"),
    ],
)
async def test_failed(error: Exception, reason: str) -> None:
    """The reason is noted, printable, and root is told nothing else."""

    async def fail() -> str:
        raise error

    eyes = sight(is_root=True)
    assert await eyes.look("a part", fail, "otherwise") == "otherwise"
    assert eyes.unseen == (Unseen("a part", reason),)


async def test_denied() -> None:
    """Another user than root is told who may see it."""

    async def fail() -> str:
        raise PermissionError(13, "Permission denied", "/a")

    eyes = sight()
    await eyes.look("a part", fail, "")
    assert eyes.unseen == (Unseen("a part", "/a: Permission denied; run doctor as root"),)


async def test_an_error_of_this_program() -> None:
    """A fault of the program is not hidden."""

    async def fail() -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await sight().look("a part", fail, "")


async def test_pending() -> None:
    """Parts are named while they are looked at."""
    eyes = sight()
    task = asyncio.create_task(eyes.look("slow", never, ""))
    await asyncio.sleep(0)
    assert "slow" in eyes.pending
    task.cancel()
    await asyncio.wait([task])
    assert not eyes.pending


async def test_once() -> None:
    """What two parts could not see is noted once."""
    eyes = sight()
    for _ in range(2):
        eyes.miss("a part", "no reason")
    assert eyes.unseen == (Unseen("a part", "no reason"),)


async def test_seconds_left() -> None:
    """The time is never negative."""
    assert sight(budget=-1.0).seconds_left == 0
    assert 0 < sight().seconds_left <= LONG
