"""State → what Postfix is told, whatever the wire.

Border: the text is made of validated values only: names that passed the host-name grammar, and
lines of a valid policy without braces or control characters. The wires encode it.
"""

import re
from dataclasses import dataclass
from typing import TypeAlias

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.mtasts.policy import Mode, MxPattern, Policy


@dataclass(frozen=True, slots=True)
class Dress:
    """How answers are given to those who ask under one map name."""

    tlsrpt: bool = False
    """With the TLSRPT attributes; Postfix before 3.10 defers mail on them."""
    servername: bool = True
    """With `servername=hostname`; Postfix before 3.4 defers mail on it."""
    enforce_testing: bool = False
    """Treat mode testing as enforce."""


PLAIN = Dress()


@dataclass(frozen=True, slots=True)
class Found:
    """A TLS policy; the variants say the same in fewer words, fullest first, the last is enough."""

    variants: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NotFound:
    """No policy of ours: the administrator's own level stays in force."""


@dataclass(frozen=True, slots=True)
class TryAgain:
    """Defer: Postfix suspends the whole destination for minutes. `reason` is printable ASCII."""

    reason: str


Reply: TypeAlias = Found | NotFound | TryAgain

NOT_FOUND = NotFound()

TOO_LONG = TryAgain("the TLS policy is too long for this protocol")
"""Deferring is what an enforced policy asks for where it cannot be told."""

# Braces would end the attribute; C0 and C1 controls and DEL are not for one line of text.
_UNSAFE_LINE = re.compile(r"[{}\x00-\x1f\x7f-\x9f]")


def compose(domain: Domain, state: State, dress: Dress) -> Reply:
    """What Postfix is told of a domain in this state (RFC 8461 §5; postconf(5)).

    Testing and none are not found: the administrator's own level, and DANE, stay in force. So is
    a domain about which the DNS said nothing; whether to defer instead is the caller's to know.
    """
    policy = state.policy
    if policy is None or not _is_enforced(policy.mode, dress):
        return NOT_FOUND
    secure = _secure(policy, dress)
    if not dress.tlsrpt:
        return Found((secure,))
    attributes = [secure, *_sts_attributes(domain, policy)]
    lines = (line.replace("\t", " ").rstrip(" ") for line in policy.lines)
    strings = [f"{{ policy_string = {li} }}" for li in lines if not _UNSAFE_LINE.search(li)]
    return Found((" ".join([*attributes, *strings]), " ".join(attributes), secure))


def _is_enforced(mode: Mode, dress: Dress) -> bool:
    return mode is Mode.ENFORCE or (mode is Mode.TESTING and dress.enforce_testing)


def _secure(policy: Policy, dress: Dress) -> str:
    match = ":".join(dict.fromkeys(_match(pattern) for pattern in policy.mx))
    return f"secure match={match}" + (" servername=hostname" if dress.servername else "")


def _match(pattern: MxPattern) -> str:
    return f".{pattern.domain}" if pattern.wildcard else pattern.domain


def _sts_attributes(domain: Domain, policy: Policy) -> list[str]:
    # policy_failure= is never among them: smtp(8) of Postfix 3.10 and 3.11 panics on it.
    patterns = [f"mx_host_pattern={pattern}" for pattern in policy.mx]
    return ["policy_type=sts", f"policy_domain={domain}", *patterns]
