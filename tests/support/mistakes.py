"""What `find_mistakes` says of one domain, x.test."""

import re
from collections.abc import Sequence

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.mistakes import MailName, Mistake, Seen, Texts, find_mistakes

DOMAIN = Domain("x.test")
MX = (MailName("mx1.x.test"), MailName("mx2.x.test"))
RECORD = "_mta-sts.x.test"
TLSRPT = "_smtp._tls.x.test"


def in_record(*texts: str | bytes) -> tuple[Mistake, ...]:
    """The mistakes of an MTA-STS record."""
    return find_mistakes(Seen(DOMAIN, record=Texts(RECORD, _encoded(texts))))


def in_tlsrpt(*texts: str | bytes) -> tuple[Mistake, ...]:
    """The mistakes of a TLSRPT record."""
    return find_mistakes(Seen(DOMAIN, tlsrpt=Texts(TLSRPT, _encoded(texts))))


def in_policy(body: str | bytes, mx: tuple[MailName, ...] | None = MX) -> tuple[Mistake, ...]:
    """The mistakes of a policy file."""
    return find_mistakes(Seen(DOMAIN, body=_encoded([body])[0], mx=mx))


def codes(mistakes: Sequence[Mistake]) -> list[str]:
    """The codes of mistakes, all of whose texts are lines of printable ASCII."""
    for mistake in mistakes:
        assert re.fullmatch(r"[ -~]+", mistake.found)
        assert re.fullmatch(r"[ -~]+", mistake.write)
    return [mistake.code for mistake in mistakes]


def text_to_write(mistake: Mistake) -> bytes:
    """The text of the record that corrects a mistake."""
    line = re.fullmatch(r'\S+\. IN TXT ("[^"]*"(?: "[^"]*")*)', mistake.write)
    assert line
    return "".join(re.findall('"([^"]*)"', line[1])).encode()


def _encoded(texts: Sequence[str | bytes]) -> tuple[bytes, ...]:
    return tuple(text.encode() if isinstance(text, str) else text for text in texts)
