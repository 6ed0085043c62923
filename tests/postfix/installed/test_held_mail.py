"""Messages that wait because of a policy, from a program in place of postqueue."""

import json
from pathlib import Path
from typing import Final

import pytest

from postfix_mta_sts.postfix.installed.held_mail import count_held
from postfix_mta_sts.postfix.programs import MissingProgramError, ProgramError
from tests.support.scripts import script

REASONS: Final = (
    "client TLS configuration problem",
    "TLS is required, but our TLS engine is unavailable",
    "TLS is required, but was not offered by host mx.a.test[192.0.2.1]",
    "Server certificate not verified",
    "non DNSSEC destination",
)


def message(*reasons: str, sender: str = "a@b.test") -> str:
    """A line of `postqueue -j`."""
    recipients = [{"address": "x@a.test", "delay_reason": each} for each in reasons]
    return json.dumps({"arrival_time": 1, "sender": sender, "recipients": recipients})


def queue(folder: Path, *lines: str, end: str = "exit 0") -> str:
    """A program that prints these lines; its arguments are in a file beside it."""
    (folder / "lines").write_text("".join(f"{line}\n" for line in lines))
    body = f'echo "$@" > {folder}/words; cat {folder}/lines; {end}'
    return script(folder / "postqueue", body)


@pytest.mark.parametrize("reason", REASONS)
async def test_counted(tmp_path: Path, reason: str) -> None:
    """What smtp(8) says of a policy, once for each message."""
    lines = (message(reason), message(reason, reason), message("Connection refused"), message())
    program = queue(tmp_path, *lines)
    assert await count_held("/etc/postfix-out", command=[program]) == 2
    assert (tmp_path / "words").read_text() == "-c /etc/postfix-out -j\n"


async def test_words_in_other_places(tmp_path: Path) -> None:
    """An address that looks like a reason is none; a line that is no message is left out."""
    lines = (message("x", sender=f"{REASONS[0]}@b.test"), f"nonsense {REASONS[0]}", "")
    assert await count_held("/a", command=[queue(tmp_path, *lines)]) == 0


async def test_failed(tmp_path: Path) -> None:
    """The program fails, for example because Postfix does not run."""
    end = "echo 'postqueue: fatal: Queue report unavailable' >&2; exit 69"
    with pytest.raises(ProgramError, match="postqueue: fatal: Queue report unavailable"):
        await count_held("/a", command=[queue(tmp_path, end=end)])
    with pytest.raises(MissingProgramError):
        await count_held("/a", command=[str(tmp_path / "none")])


async def test_too_long(tmp_path: Path) -> None:
    """An endless list is not read to its end."""
    program = queue(tmp_path, *[message("x")] * 100)
    with pytest.raises(ProgramError, match="more than 1000 bytes"):
        await count_held("/a", command=[program], limit=1000)
