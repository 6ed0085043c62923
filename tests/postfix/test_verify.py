"""Having Postfix probe a domain: its words in the log, and what happens without them."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.postfix.mail_log import MailLog
from postfix_mta_sts.postfix.smtp_client.values import MainCf
from postfix_mta_sts.postfix.verify import PostfixWords, ask_postfix, parse_line
from tests.support.scripts import script

DOMAIN = Domain("a.test")
RECIPIENT = "postmaster@a.test"
PREFIX = "Nov 27 03:20:00 relay postfix/smtp[77]: 4ZZkq12"
RESULT = (
    f"{PREFIX}: to=<postmaster@a.test>, relay=mx.a.test[192.0.2.1]:25, delay=0.1, "
    "delays=0.01/0.02/0.07/0, dsn=4.7.5, status=undeliverable (Server certificate not verified)"
)
WORDS = PostfixWords(
    "undeliverable",
    dsn="4.7.5",
    relay="mx.a.test[192.0.2.1]:25",
    text="Server certificate not verified",
)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """An empty mail log."""
    path = tmp_path / "mail.log"
    path.write_text(f"{RESULT.replace('4.7.5', '4.4.1')}\n")
    return path


def sendmail(folder: Path, body: str) -> list[str]:
    """A sendmail that writes its arguments into a file, then runs these lines."""
    return [script(folder / "sendmail", f"echo $* > {folder}/arguments\n{body}")]


def found(*commands: Sequence[str], problems: tuple[str, ...] = ()) -> Callable[[str], MailLog]:
    """A log that these commands print."""
    names = tuple(f"log {number}" for number, _ in enumerate(commands))
    return lambda _: MailLog(tuple(map(tuple, commands)), names, problems)


async def test_an_answer(tmp_path: Path, log: Path) -> None:
    """The first result for the recipient that comes after the start counts."""
    other = RESULT.replace("a.test>", "b.test>")
    add = f"echo '{other}' >> {log}; echo '{RESULT}' >> {log}"
    main_cf = MainCf(maillog_file=str(log))
    assert await ask_postfix(DOMAIN, main_cf, command=sendmail(tmp_path, add)) == WORDS
    assert (tmp_path / "arguments").read_text() == f"-bv -f <> {RECIPIENT}\n"


async def test_a_sender(tmp_path: Path, log: Path) -> None:
    """The sender may be another one."""
    command = sendmail(tmp_path, f"echo '{RESULT}' >> {log}")
    main_cf = MainCf(maillog_file=str(log))
    await ask_postfix(DOMAIN, main_cf, sender="root@relay.test", command=command)
    assert (tmp_path / "arguments").read_text() == f"-bv -f root@relay.test {RECIPIENT}\n"


async def test_two_logs(tmp_path: Path) -> None:
    """A log that is silent, or ends, does not matter if another has the answer."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    logs = found(["sleep", "600"], ["true"], ["cat", str(pipe)])
    command = sendmail(tmp_path, f"(echo '{RESULT}' > {pipe}) > /dev/null 2>&1 &")
    assert await ask_postfix(DOMAIN, MainCf(), command=command, find_log=logs) == WORDS


async def test_no_answer(tmp_path: Path) -> None:
    """When the time is over, the logs are named, and those that could not be read."""
    logs = found(["sleep", "600"], problems=("/var/log/mail.log: Permission denied",))
    words = await ask_postfix(
        DOMAIN, MainCf(), command=sendmail(tmp_path, "true"), find_log=logs, timeout=0.3
    )
    error = "no answer in log 0 within 0.3 s; /var/log/mail.log: Permission denied"
    assert words == PostfixWords(None, error=error)


async def test_no_log(tmp_path: Path) -> None:
    """Without a log nothing is submitted."""
    logs = found(problems=("there is no mail log",))
    words = await ask_postfix(DOMAIN, MainCf(), command=sendmail(tmp_path, "true"), find_log=logs)
    assert words == PostfixWords(None, error="there is no mail log")
    assert not (tmp_path / "arguments").exists()


async def test_logs_that_end(tmp_path: Path) -> None:
    """If no log can be followed any longer, waiting ends."""
    words = await ask_postfix(
        DOMAIN, MainCf(), command=sendmail(tmp_path, "true"), find_log=found(["true"])
    )
    assert words == PostfixWords(None, error="cannot read log 0 any longer")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("echo 'sendmail: fatal: no login name' >&2; exit 75", "sendmail: fatal: no login name"),
        ("exit 3", "sendmail: exit code 3"),
        (
            "echo 'postdrop: warning: unable to look up public/pickup: No such file' >&2",
            "sendmail: warning: unable to look up public/pickup: No such file",
        ),
    ],
)
async def test_a_sendmail_that_fails(tmp_path: Path, body: str, error: str) -> None:
    """Its last words are the error, also if Postfix does not run."""
    words = await ask_postfix(
        DOMAIN, MainCf(), command=sendmail(tmp_path, body), find_log=found(["sleep", "600"])
    )
    assert words == PostfixWords(None, error=error)


async def test_no_sendmail() -> None:
    """Without a sendmail that is the error."""
    words = await ask_postfix(
        DOMAIN, MainCf(), command=["no-such-program"], find_log=found(["sleep", "600"])
    )
    assert words == PostfixWords(None, error="no-such-program was not found")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (RESULT, WORDS),
        (RESULT.partition("77]: ")[2], WORDS),
        (RESULT[:-1], WORDS),
        (RESULT.replace("postmaster@a.test", "PostMaster@A.Test"), WORDS),
        (RESULT.replace("a.test>,", "b.test>, orig_to=<postmaster@a.test>,"), WORDS),
        (RESULT.replace("delay=0.1", "conn_use=2, delay=0.1"), WORDS),
        (
            (
                f"{PREFIX}: to=<postmaster@a.test>, relay=none, delay=1, delays=1/0/0/0, "
                "dsn=2.1.5, status=deliverable (250 2.1.5 Ok (a, b) \x1b[31m)"
            ),
            PostfixWords("deliverable", "2.1.5", "none", r"250 2.1.5 Ok (a, b) \x1b[31m"),
        ),
        (RESULT.replace("undeliverable", "deferred"), None),
        (RESULT.replace("a.test>", "sub.a.test>"), None),
        (f"{PREFIX}: removed", None),
        ("", None),
    ],
)
def test_lines(line: str, words: PostfixWords | None) -> None:
    """Only a result of a probe of this recipient counts, with or without what syslogd adds."""
    assert parse_line(line, RECIPIENT) == words


@given(st.text(), st.integers(0, len(RESULT)), st.integers(0, len(RESULT)))
def test_garbage(text: str, start: int, end: int) -> None:
    """Whatever the log has, it is read or left out, and one line of printable ASCII."""
    for line in (text, RESULT[:start] + text + RESULT[end:], RESULT + text):
        words = parse_line(line, RECIPIENT)
        if words:
            shown = words.text + words.relay
            assert all(" " <= character <= "~" for character in shown)
