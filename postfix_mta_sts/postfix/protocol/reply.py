"""Compose the reply for a state, independent of the protocol.

The text is made of validated values only: names that passed the host-name grammar, and lines of a
valid policy without braces or control characters. `socketmap` and `tcp_table` encode it.
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
    """The format of replies under one map name."""

    tlsrpt: bool = False
    """Add the TLSRPT attributes; Postfix before 3.10 defers mail on them."""
    servername: bool = True
    """Add `servername=hostname`; Postfix before 3.4 defers mail on it."""
    enforce_testing: bool = False
    """Treat mode testing as enforce."""


PLAIN = ReplyFormat()


@dataclass(frozen=True, slots=True)
class DaneRule:
    """How DANE verdicts are answered, as the administrator configured it."""

    answer: Literal["dane-only", "dane", "yield"] = "dane-only"
    """The strictest level in a reply; yield: none, because main.cf has level dane."""
    defer: bool = True
    """Answer "try again" if the MX RRset is signed and later DNS queries fail."""


STRICT = DaneRule()


class Found(Value, frozen=True):
    """A TLS policy; the variants are ordered from the most complete to the shortest."""

    variants: tuple[str, ...]


class NotFound(Value, frozen=True):
    """No policy: the security level of main.cf stays in force."""


class TryAgain(Value, frozen=True):
    """Defer: Postfix suspends the whole destination for minutes. `reason` is printable ASCII."""

    reason: str


Reply: TypeAlias = Found | NotFound | TryAgain

NOT_FOUND = NotFound()

TOO_LONG = TryAgain("the TLS policy is too long for this protocol")
"""An enforced policy that cannot be sent to Postfix must defer mail."""

# Braces would end the attribute; C0 and C1 controls and DEL do not belong in a line of text.
_UNSAFE_LINE = re.compile(r"[{}\x00-\x1f\x7f-\x9f]")


def compose(
    domain: Domain,
    state: State,
    reply_format: ReplyFormat,
    verdict: Verdict | None = None,
    rule: DaneRule = STRICT,
) -> Reply:
    """The reply for a domain in this state (RFC 8461 §5; postconf(5)).

    Modes testing and none are "not found": the security level of main.cf, and DANE, stay in force.
    So is a domain for which the DNS did not answer; the caller decides whether to defer instead.
    The caller also replies if there is no state at all.

    A DANE `verdict` takes precedence over the policy, which must not override it (RFC 8461 §2);
    without a verdict the policy alone decides.
    """
    match verdict.kind if verdict else None:
        case DaneKind.ALL:
            return _dane(rule.answer)
        case DaneKind.SOME:
            return _dane(_level_for_some(rule))
        case DaneKind.UNUSABLE:
            # DANE requires TLS but cannot authenticate it (RFC 7672 §2.2): a policy asks for more,
            # and there is no DANE authentication that it could override. Without an enforced policy
            # (NOT_FOUND), level dane encrypts, where dane-only would defer mail.
            enforced = _by_policy(domain, state, reply_format)
            return _dane(_level_for_some(rule)) if enforced is NOT_FOUND else enforced
        case DaneKind.FAILURE if verdict and verdict.mx_is_secure and rule.defer:
            return TryAgain(printable(f"DANE: DNS failure for {domain}: {verdict.reason}", 500))
    return _by_policy(domain, state, reply_format)


def _level_for_some(rule: DaneRule) -> Literal["dane", "yield"]:
    """The level if not every MX host can be authenticated: dane-only would defer there."""
    return "dane" if rule.answer == "dane-only" else rule.answer


def _dane(level: Literal["dane-only", "dane", "yield"]) -> Reply:
    # Without TLSRPT attributes: Postfix reports its TLSA records itself.
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
    # Postfix writes "all subdomains" as .example.com; a pattern has no other "*".
    match = ":".join(policy.mx).replace("*", "")
    return f"secure match={match}" + (" servername=hostname" if reply_format.servername else "")


def _sts_attributes(domain: Domain, policy: Policy) -> list[str]:
    # Never policy_failure=: smtp(8) of Postfix 3.10 and 3.11 panics on it.
    patterns = [f"mx_host_pattern={pattern}" for pattern in policy.mx]
    return ["policy_type=sts", f"policy_domain={domain}", *patterns]
