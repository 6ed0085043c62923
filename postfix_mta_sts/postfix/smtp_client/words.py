"""Postfix's words for an outcome, without what differs from one delivery to the next.

Two texts are compared after `normalise`: the one that the model composes, and the one in the log of
a real Postfix.
"""

import re
from typing import Final

from postfix_mta_sts.values import Value

_LONGEST: Final = 4_000
"""Characters; Postfix cuts a line of its log earlier."""

# mx1.example.com[192.0.2.1]:25, [IPv6:2001:db8::1], and the space before it.
_PEER: Final = r"(?:^| )[^\s\[\]]*+\[(?:IPv6:)?[0-9A-Fa-f:.]+(?:%\w+)?\](?::[0-9]+)?"

# What is removed, and what is left of it; each rule makes the text shorter.
_RULES: Final = tuple(
    (re.compile(pattern), rest)
    for pattern, rest in (
        (r"^(?=[A-Za-z]*[0-9])[0-9A-Za-z]{6,20}: ", ""),  # the queue id before the words
        (r"\bqueued as \S+", "queued"),
        (_PEER, ""),
        # Which address family fails last says nothing about the host.
        (r"Name service error for name=\S+ type=A(?:AAA)?(?=:)", "Name service error"),
        (r"Name service error for name=\S+", "Name service error for"),
        (r"Name service error for (?!type=).+?(?=: invalid)", "Name service error"),
        (r"\bDomain \S+ does not accept", "Domain does not accept"),
        (r"\bmail for \S+ loops back", "mail loops back"),
        (r"\bprimary relay for \S+", "primary relay"),
        (r"\bTLSA lookup error for \S+", "TLSA lookup error"),
    )
)


class Words(Value, frozen=True):
    """What Postfix says of a failure. `text` is normalised if `say` made it."""

    dsn: str
    text: str

    @property
    def is_hard(self) -> bool:
        """Whether the mail bounces."""
        return self.dsn.startswith("5")


def say(dsn: str, text: str) -> Words:
    """Words of Postfix, normalised."""
    return Words(dsn, normalise(text))


def normalise(text: str) -> str:
    """Take queue ids, names, addresses and ports out of Postfix's words, for any text.

    `connect to mx1.example.com[192.0.2.1]:25: Connection refused` becomes `connect to: Connection
    refused`; the name of the domain or host goes from `Name service error for name=… type=MX`,
    `Domain … does not accept mail`, `mail for … loops back to myself`, `unable to find primary
    relay for …` and `TLSA lookup error for …`, and the type, too, if it is A or AAAA. Each run of
    white space becomes one space, and a longer text is cut to 4,000 characters.
    """
    text = " ".join(text[:_LONGEST].split())
    while (shorter := _shorten(text)) != text:
        text = shorter
    return text


def _shorten(text: str) -> str:
    for pattern, rest in _RULES:
        text = pattern.sub(rest, text)
    return " ".join(text.split())
