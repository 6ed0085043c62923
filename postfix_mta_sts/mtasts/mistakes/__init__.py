"""Recognise what administrators of other domains mistype, and say which line to write instead.

Pure. The parsers refuse such input, or read it as something else than was meant; this package looks
at the same texts once more, and at names where a record was put by mistake. What is valid and works
is no mistake.
"""

from typing import Final

from postfix_mta_sts.mtasts.mistakes.mail_names import find_mx_mistakes, find_mx_pattern_mistakes
from postfix_mta_sts.mtasts.mistakes.names import near_names
from postfix_mta_sts.mtasts.mistakes.policy import find_policy_mistakes
from postfix_mta_sts.mtasts.mistakes.policy_host import find_policy_host_mistakes
from postfix_mta_sts.mtasts.mistakes.record import find_record_mistakes
from postfix_mta_sts.mtasts.mistakes.tlsrpt import find_tlsrpt_mistakes
from postfix_mta_sts.mtasts.mistakes.values import (
    NEXT_LINE,
    MailName,
    Mistake,
    Place,
    Seen,
    Texts,
)

__all__ = [
    "MOST",
    "NEXT_LINE",
    "MailName",
    "Mistake",
    "Place",
    "Seen",
    "Texts",
    "find_mistakes",
    "near_names",
]

_FINDERS: Final = (
    find_record_mistakes,
    find_policy_host_mistakes,
    find_policy_mistakes,
    find_mx_pattern_mistakes,
    find_mx_mistakes,
    find_tlsrpt_mistakes,
)
MOST: Final = 40
"""Mistakes that are reported: a file of 64 KiB can have thousands."""


def find_mistakes(seen: Seen) -> tuple[Mistake, ...]:
    """Return the mistakes in what was found of a domain, at most `MOST`, each once."""
    found = (mistake for find in _FINDERS for mistake in find(seen))
    return tuple(dict.fromkeys(found))[:MOST]
