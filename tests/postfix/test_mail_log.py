"""Finding the mail log, and following it."""

import contextlib
import os
import socket
from pathlib import Path

import pytest

from postfix_mta_sts.postfix.mail_log import MailLog, find_mail_log
from postfix_mta_sts.postfix.programs import lines, start
from tests.support.scripts import script

NO_JOURNAL = ["no-such-program"]


def find(maillog_file: str = "", *files: Path, journal: list[str] | None = None) -> MailLog:
    """The log at a fixed time."""
    return find_mail_log(
        maillog_file, files=files, journal=journal or NO_JOURNAL, clock=lambda: 1_700_000_000.25
    )


@pytest.mark.parametrize("by_main_cf", [True, False])
async def test_lines_from_now_on(tmp_path: Path, *, by_main_cf: bool) -> None:
    """What is added is read, also to a new file in place of a rotated one; the rest is not."""
    path = tmp_path / "mail.log"
    path.write_text("old\n")
    log = find(str(path)) if by_main_cf else find("", tmp_path / "missing", path)
    assert log.names == (str(path),)
    with path.open("a") as file:
        file.write("one\n")
    seen: list[bytes] = []
    async with start(log.commands[0]) as process:
        async for some in lines(process.stdout):
            seen += some
            if seen == [b"one"]:
                path.rename(tmp_path / "mail.log.1")
                path.write_text("two\n")
            if b"two" in seen:
                break
    assert seen == [b"one", b"two"]


def test_the_journal(tmp_path: Path) -> None:
    """The journal is followed beside the files, which may be leftovers."""
    path = tmp_path / "mail.log"
    path.touch()
    journal = script(tmp_path / "journalctl", "true")
    log = find("", path, journal=[journal])
    since = ("--since", "@1700000000.250000", "SYSLOG_FACILITY=2")
    assert log.commands[1] == (journal, "-q", "-f", "--no-tail", "-o", "cat", *since)
    assert log.names == (str(path), "the journal")


def test_no_log(tmp_path: Path) -> None:
    """Without any log that is the problem."""
    paths = (tmp_path / "a", tmp_path / "b")
    problem = f"there is no mail log: {paths[0]} and {paths[1]} do not exist"
    assert find("", *paths) == MailLog(problems=(problem,))


@pytest.mark.parametrize("name", ["/dev/null", "fifo", "folder"])
def test_not_a_file(tmp_path: Path, name: str) -> None:
    """Postfix in a container logs to /dev/stdout, which nobody else can read."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    path = tmp_path / name
    problem = f"maillog_file of main.cf, {path}: not a file that this command can read"
    assert find(str(path)) == MailLog(problems=(problem,))


def test_a_missing_file(tmp_path: Path) -> None:
    """The file that Postfix writes to, if it is not there, is the problem."""
    path = tmp_path / "mail.log"
    problem = f"maillog_file of main.cf, {path}: No such file or directory"
    assert find(str(path)) == MailLog(problems=(problem,))


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """It is named beside the logs that can be read."""
    closed, path = tmp_path / "socket", tmp_path / "mail.log"
    path.touch()
    with contextlib.closing(make_socket(closed)):
        log = find("", closed, path)
    assert log.names == (str(path),)
    assert log.problems == (f"{closed}: No such device or address",)


def make_socket(path: Path) -> socket.socket:
    """A file that nobody can open, not even root."""
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(path))
    return made
