"""State → what Postfix is told, whatever the wire.

Border: the text is made of validated values only: names that passed the host-name grammar, and
lines of a valid policy without braces or control characters. The wires encode it.
"""

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

from postfix_mta_sts.mtasts.dane import DaneKind, Verdict
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.mtasts.policy import Mode, Policy
from postfix_mta_sts.values import Value


@dataclass(frozen=True, slots=True)
class ReplyFormat:
    """How answers are given to those who ask under one map name."""

    tlsrpt: bool = False
    """With the TLSRPT attributes; Postfix before 3.10 defers mail on them."""
    servername: bool = True
    """With `servername=hostname`; Postfix before 3.4 defers mail on it."""
    enforce_testing: bool = False
    """Treat mode testing as enforce."""


PLAIN = ReplyFormat()


@dataclass(frozen=True, slots=True)
class DaneRule:
    """What the administrator wants to be answered where DANE has a say."""

    answer: Literal["dane-only", "dane", "yield"] = "dane-only"
    """The strictest level that is told; yield: none, for main.cf has level dane."""
    defer: bool = True
    """Try again where the MX RRset is signed and the DNS does not say more."""


STRICT = DaneRule()


class Found(Value, frozen=True):
    """A TLS policy; the variants say the same in fewer words, fullest first, the last is enough."""

    variants: tuple[str, ...]


class NotFound(Value, frozen=True):
    """No policy of ours: the administrator's own level stays in force."""


class TryAgain(Value, frozen=True):
    """Defer: Postfix suspends the whole destination for minutes. `reason` is printable ASCII."""

    reason: str


Reply: TypeAlias = Found | NotFound | TryAgain

NOT_FOUND = NotFound()

TOO_LONG = TryAgain("the TLS policy is too long for this protocol")
"""Deferring is what an enforced policy asks for where it cannot be told."""

# Braces would end the attribute; C0 and C1 controls and DEL are not for one line of text.
_UNSAFE_LINE = re.compile(r"[{}\x00-\x1f\x7f-\x9f]")


def compose(
    domain: Domain,
    state: State,
    reply_format: ReplyFormat,
    verdict: Verdict | None = None,
    rule: DaneRule = STRICT,
) -> Reply:
    """What Postfix is told of a domain in this state (RFC 8461 §5; postconf(5)).

    Testing and none are not found: the administrator's own level, and DANE, stay in force. So is
    a domain about which the DNS said nothing; whether to defer instead is the caller's to know.

    A `verdict` of DANE goes before the policy, which must not override it (RFC 8461 §2); without
    one the domain is answered as though there were no DANE.
    """
    match verdict.kind if verdict else None:
        case DaneKind.ALL:
            return _dane(rule.answer)
        case DaneKind.SOME:
            return _dane(_for_some(rule))
        case DaneKind.UNUSABLE:
            # TLS is a must and cannot be authenticated by DANE (RFC 7672 §2.2): a policy asks
            # for more, and there is nothing in DANE that it could override. Without one, level
            # dane encrypts, where dane-only would hold the mail back.
            enforced = _by_policy(domain, state, reply_format)
            return _dane(_for_some(rule)) if enforced is NOT_FOUND else enforced
        case DaneKind.FAILURE if verdict and verdict.mx_is_secure and rule.defer:
            return TryAgain(printable(f"DANE: DNS failure for {domain}: {verdict.reason}", 500))
    return _by_policy(domain, state, reply_format)


def _for_some(rule: DaneRule) -> Literal["dane", "yield"]:
    """What is told where not every MX host can be authenticated: dane-only would defer there."""
    return "dane" if rule.answer == "dane-only" else rule.answer


def _dane(level: Literal["dane-only", "dane", "yield"]) -> Reply:
    # Without the attributes of any dress: Postfix reports its TLSA records by itself.
    return NOT_FOUND if level == "yield" else Found((level,))


def _by_policy(domain: Domain, state: State, reply_format: ReplyFormat) -> Reply:
    policy = state.policy
    if policy is None or not _is_enforced(policy.mode, reply_format):
        return NOT_FOUND
    secure = _secure(policy, reply_format)
    if not reply_format.tlsrpt:
        return Found((secure,))
    attributes = [secure, *_sts_attributes(domain, policy)]
    lines = (line.replace("\t", " ").rstrip(" ") for line in policy.lines)
    strings = [f"{{ policy_string = {li} }}" for li in lines if not _UNSAFE_LINE.search(li)]
    return Found((" ".join([*attributes, *strings]), " ".join(attributes), secure))


def _is_enforced(mode: Mode, reply_format: ReplyFormat) -> bool:
    return mode is Mode.ENFORCE or (mode is Mode.TESTING and reply_format.enforce_testing)


def _secure(policy: Policy, reply_format: ReplyFormat) -> str:
    # Postfix writes a domain with all below it as .example.com; no other "*" is in a pattern.
    match = ":".join(policy.mx).replace("*", "")
    return f"secure match={match}" + (" servername=hostname" if reply_format.servername else "")


def _sts_attributes(domain: Domain, policy: Policy) -> list[str]:
    # policy_failure= is never among them: smtp(8) of Postfix 3.10 and 3.11 panics on it.
    patterns = [f"mx_host_pattern={pattern}" for pattern in policy.mx]
    return ["policy_type=sts", f"policy_domain={domain}", *patterns]
