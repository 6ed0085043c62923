"""Has the running Postfix probe a domain, and reads its own words from the mail log.

`sendmail -bv` makes smtp(8) go up to RCPT TO without sending a message: through its own policy map,
chroot and CA certificates. The result is a line of the log. `mail_log` says where that is.
"""

import asyncio
import contextlib
import re
from asyncio.subprocess import Process
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.postfix.mail_log import MailLog, find_mail_log
from postfix_mta_sts.postfix.programs import ProgramError, lines, run, start
from postfix_mta_sts.postfix.smtp_client.values import MainCf
from postfix_mta_sts.values import Value

TIMEOUT: Final = 60.0
"""Seconds for an answer: smtp(8) waits 30 s for a connection to each of several addresses."""
NULL_SENDER: Final = "<>"
"""Postfix mails a report of the probe to the sender, and to nobody if there is none (bounce(8),
unless notify_classes has `2bounce`). Each mail server must accept it (RFC 5321 §4.5.5), while one
may refuse `root@` of a machine that takes no mail."""
LOCAL_PART: Final = "postmaster"
"""The mailbox that each domain with mail must have (RFC 5321 §4.5.1)."""

_TEXT_LIMIT: Final = 1_000
_NOT_RUNNING: Final = "public/pickup"  # postdrop(1) warns that nothing listens there, and exits 0

# Postfix's log_adhoc(): `4ZZ: to=<a@b>, orig_to=<c@d>, relay=…, delay=…, delays=…, dsn=4.7.5,
# status=undeliverable (…)`. syslogd may cut the line.
_RESULT = re.compile(
    r"(?:^|\s)[0-9A-Za-z]{5,30}: to=<(?P<to>[^>]*)>,(?: orig_to=<(?P<orig_to>[^>]*)>,)?"
    r" relay=(?P<relay>[^,]*), (?:[a-z_]+=[^,]*, )*dsn=(?P<dsn>\d\.\d{1,3}\.\d{1,3}),"
    r" status=(?P<status>deliverable|undeliverable) \((?P<text>.*)",
    re.ASCII,
)


class PostfixWords(Value, frozen=True):
    """What the running Postfix says after it has probed the domain itself."""

    status: str | None
    """`deliverable` or `undeliverable`; None: no answer in the log."""
    dsn: str = ""
    relay: str = ""
    text: str = ""
    error: str = ""


async def ask_postfix(
    domain: Domain,
    main_cf: MainCf,
    *,
    sender: str = NULL_SENDER,
    timeout: float = TIMEOUT,  # noqa: ASYNC109 (its end is a result)
    command: Sequence[str] = ("sendmail",),
    find_log: Callable[[str], MailLog] = find_mail_log,
) -> PostfixWords:
    """Probe `postmaster@DOMAIN`, and wait for what the log says; `error` without an answer.

    `sender` is the envelope sender, which gets a report by mail.
    """
    log = await asyncio.to_thread(find_log, main_cf.maillog_file)
    if not log.commands:
        return _no_answer("", log)
    recipient = f"{LOCAL_PART}@{domain}"
    probe = [*command, "-bv", "-f", sender, recipient]
    try:
        async with asyncio.timeout(timeout):
            words = await _probe(probe, log, recipient)
    except TimeoutError:
        return _no_answer(f"no answer in {' or '.join(log.names)} within {timeout:g} s", log)
    except ProgramError as error:
        return _no_answer(str(error))
    return words or _no_answer(f"cannot read {' or '.join(log.names)} any longer", log)


def parse_line(line: str, recipient: str) -> PostfixWords | None:
    """The result of a probe of this recipient; None: the line has none."""
    match = _RESULT.search(line.rstrip())
    if match is None:
        return None
    given = {address.lower() for address in match.group("to", "orig_to") if address}
    if recipient.lower() not in given:
        return None
    return PostfixWords(
        status=match["status"],
        dsn=match["dsn"],
        relay=printable(match["relay"]),
        text=printable(match["text"].removesuffix(")"), _TEXT_LIMIT),
    )


async def _probe(probe: Sequence[str], log: MailLog, recipient: str) -> PostfixWords | None:
    """Follow all logs, then submit the probe; None: each log came to an end without a result."""
    async with contextlib.AsyncExitStack() as stack:
        followed = [await stack.enter_async_context(start(each)) for each in log.commands]
        output = await run(probe)
        if output.code != 0 or _NOT_RUNNING in output.errors:
            raise ProgramError(f"{Path(probe[0]).name}: {output.reason}")
        searches = [asyncio.create_task(_search(each, recipient)) for each in followed]
        stack.callback(lambda: [each.cancel() for each in searches])
        for search in asyncio.as_completed(searches):
            if words := await search:
                return words
    return None


async def _search(followed: Process, recipient: str) -> PostfixWords | None:
    """The first result among the lines of a log."""
    async for some in lines(followed.stdout):
        for line in some:
            if words := parse_line(line.decode("utf-8", "replace"), recipient):
                return words
    return None


def _no_answer(error: str, log: MailLog | None = None) -> PostfixWords:
    problems = log.problems if log else ()
    return PostfixWords(None, error=printable("; ".join(filter(None, (error, *problems))), 500))
