"""Read the replies of an SMTP server as smtp(8) does (smtp_chat_resp in its sources).

A reply ends with a line of three digits and a space or nothing. Lines that do not begin with three
digits are part of the reply, so that a server that never sends such a line is waited for.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.network.smtp.failures import LOST, ConversationError
from postfix_mta_sts.network.smtp.values import FailureKind, SmtpReply
from postfix_mta_sts.values import Value

MAX_LINE: Final = 2048
"""Bytes of a line that are used (postconf(5), line_length_limit); as many again are skipped."""
MAX_REPLY: Final = 1_048_576
"""Bytes of a reply, of which the lines after `MAX_LINE` bytes are not used.

Postfix reads on without end.
"""

_CODE: Final = re.compile(rb"([0-9]{3})(?:([ -])|$)")
_STATUS: Final = re.compile(rb"[0-9]{3} +([245]\.[0-9]{1,3}\.[0-9]{1,3})(?![^ \t\r\v\f])")
"""An enhanced status code at the start of the text (RFC 2034 §4, RFC 3463 §2)."""
_AFTER_CODE: Final = re.compile(rb"[- ]*[^- ]+[- ][ \t=]*([^ \t=]*)")
_CONTROL: Final = bytes(range(32)) + b"\x7f"
_QUESTION_MARKS: Final = bytes.maketrans(_CONTROL, b"?" * len(_CONTROL))


class Reply(Value, frozen=True):
    """A whole reply: what is reported of it, and its lines with control characters replaced."""

    value: SmtpReply
    lines: tuple[bytes, ...]

    @property
    def is_positive(self) -> bool:
        """Whether the server has done what it was asked to (RFC 5321 §4.2.1)."""
        return self.value.code // 100 == 2


def parse_reply(lines: Sequence[bytes], last: bytes) -> Reply:
    """Make a reply of the lines to report and of its last line, which begins with a code."""
    shown = tuple(line.translate(_QUESTION_MARKS) for line in lines)
    found = _STATUS.match(last)
    status = found[1].decode() if found and found[1][:1] == last[:1] else ""
    text = printable(b" ".join(shown), 2 * MAX_LINE)
    return Reply(SmtpReply(code=int(last[:3]), text=text, status=status), shown)


def greeted_as(reply: Reply) -> str | None:
    """The name by which the server knows itself: the first word of its reply to EHLO."""
    words = _keywords(reply)
    return printable(words[0]) if words else None


def offers_starttls(reply: Reply) -> bool:
    """Whether a reply to EHLO has the keyword STARTTLS (RFC 3207 §2), in any case."""
    return any(word.upper() == b"STARTTLS" for word in _keywords(reply)[1:])


class ReplyReader:
    """Reads replies from a connection; `read` gives its next bytes, and none at its end."""

    def __init__(self, read: Callable[[], Awaitable[bytes]]) -> None:
        self._read = read
        self._buffer = bytearray()
        self.unexpected: str | None = None
        """A line of the current reply that is not SMTP; Postfix reads on, in vain if it is all."""

    async def reply(self) -> Reply:
        """The next reply; raises `ConversationError` and what `read` raises."""
        self.unexpected = None
        lines: list[bytes] = []
        size = used = 0
        while True:
            line, length = await self._line()
            size += length
            if size > MAX_REPLY:
                raise ConversationError(
                    FailureKind.NO_SMTP, f"a reply of more than {MAX_REPLY} bytes"
                )
            code = _CODE.match(line)
            if used < MAX_LINE:
                lines.append(line)
                used += len(line) + 1
            if code is None:
                self.unexpected = self.unexpected or printable(line)
            elif code[2] != b"-":
                return parse_reply(lines, line)

    def discard(self) -> None:
        """Forget what the server sent ahead of the next command."""
        self._buffer.clear()
        self.unexpected = None

    async def _line(self) -> tuple[bytes, int]:
        """The next line, cut and without its end; and how many bytes it had."""
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            if searched > 2 * MAX_LINE:
                raise ConversationError(
                    FailureKind.NO_SMTP, f"a line of more than {2 * MAX_LINE} bytes"
                )
            data = await self._read()
            if not data:
                raise self._closed()
            self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line[:MAX_LINE].rstrip(b"\r"), end + 1

    def _closed(self) -> ConversationError:
        if not self.unexpected:
            return ConversationError(FailureKind.CLOSED, LOST)
        return ConversationError(FailureKind.CLOSED, f"{LOST} after {self.unexpected!r}")


def _keywords(reply: Reply) -> list[bytes]:
    """The word after each code; Postfix lets it end with `=` too, for an old draft of AUTH."""
    found = map(_AFTER_CODE.match, reply.lines)
    return [match[1] for match in found if match and match[1]]
