"""The mail that waits for a domain, from `postqueue -j`.

A queue may have hundreds of thousands of messages: they are counted as they are read, and not kept.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

from postfix_mta_sts.mtasts.domain import Domain, parse_domain
from postfix_mta_sts.mtasts.errors import InvalidDomainError, printable
from postfix_mta_sts.postfix import delay_reasons
from postfix_mta_sts.postfix.programs import ProgramError, ending, lines, start
from postfix_mta_sts.values import Value, json_decoder

TIMEOUT: Final = 8.0
"""Seconds for the whole queue; showq(8) opens each of its files."""
SIZE_LIMIT: Final = 256 * 2**20
"""Bytes of output; half a million messages with one recipient are 200 MB."""
REASONS_LIMIT: Final = 5

_LINE_LIMIT: Final = 4 * 2**20  # a message with ten thousand recipients
_KINDS_LIMIT: Final = 1_000  # different reasons that are counted
_REMEMBERED_LIMIT: Final = 20_000  # reasons whose kind is remembered, 10 MB: each host has its own


class Waiting(Value, frozen=True):
    """The mail for the domain in the queue."""

    messages: int
    oldest: int | None
    """When the oldest message arrived."""
    reasons: tuple[str, ...] = ()
    """The different reasons for the delay, the most frequent first."""
    others_with_reason: int = 0
    """Messages for other domains that wait for a reason of the same kind."""
    error: str = ""
    """Why it is not known, or why there may be more."""


class Recipient(Value, frozen=True):
    """One recipient of a message in the queue (postqueue(1), JSON object format)."""

    address: str
    delay_reason: str = ""


class QueueFile(Value, frozen=True):
    """One message in the queue."""

    arrival_time: int
    recipients: tuple[Recipient, ...] = ()


_decode = json_decoder(QueueFile)


async def waiting_for(
    domain: Domain,
    *,
    command: Sequence[str] = ("postqueue",),
    timeout: float = TIMEOUT,  # noqa: ASYNC109 (what was read by then is the result)
    limit: int = SIZE_LIMIT,
) -> Waiting:
    """What waits for a domain, without its subdomains; `error` if it could not be read."""
    count = Count(domain)
    try:
        async with asyncio.timeout(timeout):
            return count.result(await _read(count, command, limit))
    except TimeoutError:
        return count.result(f"the queue was not read to its end within {timeout:g} s")
    except ProgramError as error:
        return count.result(printable(str(error)))


async def _read(count: "Count", command: Sequence[str], limit: int) -> str:
    """Count the lines of the program; return what is wrong."""
    size = 0
    async with start([*command, "-j"]) as process:
        async for some in lines(process.stdout, longest=_LINE_LIMIT):
            size += sum(map(len, some))
            if size > limit:
                return f"the queue was not read to its end: more than {limit} bytes"
            for line in some:
                count.add(line)
        end = await ending(process)
    return count.problem if end.code == 0 else printable(f"postqueue: {end.reason}")


class Count:
    """Counts messages for one domain, and the reasons for which those for others wait."""

    def __init__(self, domain: Domain) -> None:
        self._domain = domain
        # Any spelling that is not this one may still be the same name, in capitals or U-labels.
        self._plain = re.compile(r"[a-z0-9.-]*")
        self._messages = 0
        self._oldest: int | None = None
        self._reasons: Counter[str] = Counter()
        self._kinds: set[str] = set()
        self._others: Counter[frozenset[str]] = Counter()
        self._known_kinds: dict[str, str] = {}
        self._unread = 0

    @property
    def problem(self) -> str:
        """What could not be read."""
        return f"{self._unread} lines of postqueue could not be read" if self._unread else ""

    def add(self, line: bytes) -> None:
        """Count the message of one line of `postqueue -j`."""
        try:
            message = _decode(line.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            self._unread += bool(line.strip())
            return
        own: list[str] = []
        others: set[str] = set()
        for each in message.recipients:
            if self._is_there(each.address):
                own.append(each.delay_reason)
            else:
                others.add(each.delay_reason)
        if own:
            self._add_own(message.arrival_time, own)
        self._add_other(others)

    def result(self, error: str) -> Waiting:
        """What was counted."""
        alike = (count for kinds, count in self._others.items() if kinds & self._kinds)
        return Waiting(
            messages=self._messages,
            oldest=self._oldest,
            reasons=tuple(reason for reason, _ in self._reasons.most_common(REASONS_LIMIT)),
            others_with_reason=sum(alike),
            error=error,
        )

    def _add_own(self, arrived: int, reasons: Sequence[str]) -> None:
        self._messages += 1
        self._oldest = arrived if self._oldest is None else min(self._oldest, arrived)
        for reason in filter(None, reasons):
            text = delay_reasons.common(reason)
            if text in self._reasons or len(self._reasons) < _KINDS_LIMIT:
                self._reasons[text] += 1
            if len(self._kinds) < _KINDS_LIMIT:
                self._kinds.add(self._kind(reason))

    def _add_other(self, reasons: set[str]) -> None:
        kinds = frozenset(self._kind(reason) for reason in reasons if reason)
        if kinds and (kinds in self._others or len(self._others) < _KINDS_LIMIT):
            self._others[kinds] += 1

    def _kind(self, reason: str) -> str:
        """The kind of a reason; many messages wait for the very same one."""
        if reason not in self._known_kinds:
            if len(self._known_kinds) >= _REMEMBERED_LIMIT:
                self._known_kinds.clear()
            self._known_kinds[reason] = delay_reasons.kind(reason)
        return self._known_kinds[reason]

    def _is_there(self, address: str) -> bool:
        name = address.rpartition("@")[2]
        if name == self._domain or self._plain.fullmatch(name):
            return name.removesuffix(".") == self._domain
        try:
            return parse_domain(name) == self._domain
        except InvalidDomainError:
            return False
