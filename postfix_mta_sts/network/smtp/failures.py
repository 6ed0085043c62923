"""How a conversation with an MX host fails: the errors that the parts of a probe raise.

They stay within a probe, which makes an `SmtpFailure` of each and adds the phase.
"""

import errno
import os
from typing import Final

from postfix_mta_sts.network.smtp.values import FailureKind, SmtpReply

LOST: Final = "lost connection"
"""Postfix's words for a connection that the host closed or reset."""

_KINDS: Final = {
    errno.ECONNREFUSED: FailureKind.REFUSED,
    errno.ETIMEDOUT: FailureKind.TIMEOUT,
    errno.ECONNRESET: FailureKind.CLOSED,
    errno.EPIPE: FailureKind.CLOSED,
}


class ConversationError(Exception):
    """The conversation cannot go on. The reason is one line of printable ASCII."""

    def __init__(self, kind: FailureKind, reason: str, reply: SmtpReply | None = None) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason
        self.reply = reply


def from_system(error: OSError) -> ConversationError:
    """Translate an error of the system, in the system's words, as Postfix logs it.

    What has no kind of its own is a fault of this machine or of its network: EACCES, EADDRNOTAVAIL,
    EAFNOSUPPORT, EHOSTUNREACH, EMFILE, ENETUNREACH, EPERM …
    """
    # asyncio puts the address into the text, so take the system's text for the number.
    number = error.errno or errno.ECONNRESET
    return ConversationError(_KINDS.get(number, FailureKind.UNREACHABLE), os.strerror(number))
