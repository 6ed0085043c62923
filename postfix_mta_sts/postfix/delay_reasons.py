"""Take out of the reasons for a delay in Postfix's queue what differs from host to host.

`common` is for people: the same fault of several hosts is one text. `kind` is shorter, and tells
whether mail for other domains waits for a fault of the same kind.
"""

import re
from typing import Final

from postfix_mta_sts.mtasts.errors import printable

LIMIT: Final = 200
"""Characters of a reason that is shown."""

_READ_LIMIT: Final = 2_000  # of a reason: Postfix copies replies of servers into it
_SUSPENDED: Final = "delivery temporarily suspended: "

# In the words of Postfix: `mx1.example.com[192.0.2.1]:25`, `[2001:db8::1]:25`, `name=example.com`.
_HOST = re.compile(r"[^\s\[\]<>()]{0,255}\[[0-9A-Fa-f:.]{2,45}\](?::\d{1,5})?")
_NAME = re.compile(
    r"\b(name|domain|for|host|to)([= ])[\w-]{1,63}(?:\.[\w-]{1,63})+\.?(?=[\s:,)]|$)"
)
_ADDRESS = re.compile(r"<[^<>\s]{0,320}@[^<>\s]{0,255}>|[^\s<>@:]{1,64}@[\w.-]{1,253}")
# `host … said: 450 4.7.1 … (in reply to RCPT TO command)`, `… refused to talk to me: 421 …`
_REPLY = re.compile(
    r"(.*?(?:said|refused to talk to me)): (\d{3})(?:[- ](\d\.\d{1,3}\.\d{1,3}))?.*"
)


def common(reason: str) -> str:
    """The reason with `...` in place of hosts and mail addresses; one line of printable ASCII."""
    text = " ".join(reason[:_READ_LIMIT].split()).removeprefix(_SUSPENDED)
    text = _HOST.sub("...", text)
    text = _ADDRESS.sub("<...>", text)
    return printable(_NAME.sub(r"\1\2...", text), LIMIT)


def kind(reason: str) -> str:
    """The fault in it: of a reply only its codes, of a connection only why there was none."""
    text = common(reason)
    if reply := _REPLY.fullmatch(text):
        return " ".join(part for part in reply.groups() if part)
    return text.removeprefix("connect to ...: ")
