"""How many messages wait in the queue of an instance because of a TLS policy: `postqueue -j`.

A queue may have hundreds of thousands of messages: they are counted as they are read.
"""

from collections.abc import Sequence
from typing import Final

from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.postfix.programs import ProgramError, ending, lines, start
from postfix_mta_sts.postfix.queue import QueueFile
from postfix_mta_sts.values import json_decoder

SIZE_LIMIT: Final = 64 * 2**20
"""Bytes of output."""
REASONS: Final = (
    "client TLS configuration problem",
    "TLS is required",
    "Server certificate not",
    "non DNSSEC destination",
)
"""What smtp(8) says of mail that a policy holds, or that waits for one; see troubleshooting.md."""

_LINE_LIMIT: Final = 4 * 2**20  # a message with ten thousand recipients
_decode = json_decoder(QueueFile)


async def count_held(
    directory: str, *, command: Sequence[str] = ("postqueue",), limit: int = SIZE_LIMIT
) -> int:
    """Count the messages; `directory` is that of main.cf. Raises `ProgramError`.

    The caller limits the time.
    """
    found = size = 0
    async with start([*command, "-c", directory, "-j"]) as process:
        async for some in lines(process.stdout, longest=_LINE_LIMIT):
            size += sum(map(len, some))
            if size > limit:
                raise ProgramError(f"the queue list has more than {limit} bytes")
            found += sum(map(_is_held, some))
        end = await ending(process)
    if end.code:
        raise ProgramError(f"postqueue: {printable(end.reason)}")
    return found


def _is_held(line: bytes) -> bool:
    """Whether a recipient of the message in a line waits for one of the reasons."""
    if not any(each.encode() in line for each in REASONS):
        return False
    try:
        message = _decode(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return False
    return any(word in each.delay_reason for each in message.recipients for word in REASONS)
