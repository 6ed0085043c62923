"""Read the domains of a scan: from lists, and out of Postfix's mail log.

Of the log only the domains of recipients are kept, and nothing of a line is printed.
"""

import re
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final

from postfix_mta_sts.cli.trial.lines import lines, opened
from postfix_mta_sts.mtasts.domain import Domain, parse_domain
from postfix_mta_sts.mtasts.errors import InvalidDomainError
from postfix_mta_sts.postfix.delivery_log import LINE_LIMIT, recipient_domain

LIST_LINE_LIMIT: Final = 4_096
"""Bytes of a line of a list."""
TICK: Final = 10_000
"""Lines between two calls of `progress`."""
_BAD_LIMIT: Final = 20
"""Bad lines that are printed; the others are only counted."""
# A `#` within a word may be part of a local part (RFC 5321 §4.1.2, atext of RFC 5322 §3.2.3).
_COMMENT: Final = re.compile(r"(?:^|\s)#")


@dataclass(slots=True)
class Read:
    """What was read."""

    lines: int = 0
    domains: int = 0
    """Lines with a domain, repeats included."""
    bad: int = 0
    """Lines of a list without a valid domain."""
    shown: list[str] = field(default_factory=list)
    """The first of these, for people."""

    @property
    def left_out(self) -> int:
        """Bad lines that are not shown."""
        return self.bad - len(self.shown)


def read_list(name: str, add: Callable[[Domain], None], progress: Callable[[], None]) -> Read:
    """Pass the domains of a list to `add`; `progress` is called now and then.

    Raises `CommandError` for a file that cannot be read.
    """
    read = Read()
    with opened(name) as stream:
        for line in lines(stream, LIST_LINE_LIMIT):
            read.lines += 1
            try:
                domain = listed_domain(line)
            except InvalidDomainError as error:
                read.bad += 1
                if len(read.shown) < _BAD_LIMIT:
                    read.shown.append(f"{name}:{read.lines}: {error}")
            else:
                if domain:
                    read.domains += 1
                    add(domain)
            if read.lines % TICK == 0:
                progress()
    return read


def read_mail_log(
    name: str,
    add: Callable[[Domain], None],
    progress: Callable[[], None],
    own: Collection[Domain] = (),
) -> Read:
    """Pass the domains of recipients in Postfix's log to `add`, but for the relay's own domains.

    The rest is as for `read_list`.
    """
    read = Read()
    with opened(name) as stream:
        for line in lines(stream, LINE_LIMIT):
            read.lines += 1
            if line and (domain := recipient_domain(line)) and domain not in own:
                read.domains += 1
                add(domain)
            if read.lines % TICK == 0:
                progress()
    return read


def listed_domain(line: bytes | None) -> Domain | None:
    """The domain in a line of a list: `example.com`, or `user@example.com`; None: there is none.

    Raises `InvalidDomainError`, also for None: a line that is too long.
    """
    if line is None:
        raise InvalidDomainError(f"longer than {LIST_LINE_LIMIT} bytes")
    try:
        text = _COMMENT.split(line.decode(), maxsplit=1)[0].strip()
    except UnicodeDecodeError:
        raise InvalidDomainError("not UTF-8") from None
    if "@" not in text:
        text = text.partition("#")[0].strip()
    if not text:
        return None
    domain = parse_domain(text.rpartition("@")[2].removesuffix(">"))
    if "." not in domain:
        raise InvalidDomainError(f"{domain!r} has one label, so that no policy can apply to it")
    return domain


def print_bad(name: str, read: Read) -> None:
    """Print the bad lines of a list on standard error."""
    for line in read.shown:
        print(line, file=sys.stderr)
    if read.left_out:
        print(f"{name}: {read.left_out:,} more lines without a valid domain", file=sys.stderr)
