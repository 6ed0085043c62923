"""Compose the reply for a decision, independent of the protocol.

The text is made of validated values only: names that passed the host-name grammar, and lines of a
valid policy without braces or control characters. `socketmap` and `tcp_table` encode it.
"""

import re
from collections.abc import Iterable
from typing import Final, TypeAlias

from postfix_mta_sts.mtasts.decision import (
    DaneAnswer,
    Decision,
    Knowledge,
    PolicyStep,
    outcome,
)
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.mtasts.policy import MxPattern, Policy
from postfix_mta_sts.values import Value


class ReplyFormat(Value, frozen=True):
    """The format of replies under one map name."""

    tlsrpt: bool = False
    """Add the TLSRPT attributes; Postfix before 3.10 defers mail on them."""
    servername: bool = True
    """Add `servername=hostname`; Postfix before 3.4 defers mail on it."""
    enforce_testing: bool = False
    """Treat mode testing as enforce."""
    trial: bool = False
    """Enforce no policy: answer as if there was none."""


PLAIN = ReplyFormat()


class DaneRule(Value, frozen=True):
    """How DANE verdicts are answered, as the administrator configured it."""

    answer: DaneAnswer = "dane-only"
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

LONGEST: Final = 100_000
"""Bytes of a reply without its frame: the longest that Postfix accepts (socketmap)."""

# A field without braces, which would end the attribute, and without C0 and C1 controls and DEL,
# which do not belong in a line of text; but a tab becomes a space. Blank lines are left out.
_SAFE_LINE = re.compile(
    r"^([^ {}\x00-\x1f\x7f-\x9f][^{}\x00-\x08\x0a-\x1f\x7f-\x9f]*+)\r?$", re.MULTILINE
)
_POLICY_STRING: Final = " {{ policy_string = {} }}"


def compose(
    domain: Domain,
    decision: Decision,
    knowledge: Knowledge,
    reply_format: ReplyFormat,
    now: float,
    pinned: Iterable[MxPattern] = (),
) -> Reply:
    """The reply for a domain, as `mtasts.decision.decide` has decided (RFC 8461 §5; postconf(5)).

    "Not found" leaves the security level of main.cf, and DANE, in force. A DANE level has no TLSRPT
    attributes: Postfix reports its TLSA records itself. Nor has what an administrator chose: no
    policy of the domain says so. `pinned`: the patterns for `Decision.PIN`. Raises `ValueError` for
    `Decision.WAIT`, and for a pin without patterns.
    """
    match decision:
        case Decision.SECURE:
            return _by_policy(domain, knowledge, reply_format)
        case Decision.PIN if pinned:
            return Found((_secure(pinned, reply_format),))
        case Decision.DANE_ONLY | Decision.DANE | Decision.MAY | Decision.ENCRYPT:
            return Found((decision.value,))
        case Decision.TRY_AGAIN_DANE:
            reason = _dane_reason(knowledge, now)
            return TryAgain(printable(f"DANE: DNS failure for {domain}: {reason}", 500))
        case Decision.TRY_AGAIN_POLICY:
            return TryAgain(printable(f"MTA-STS: {_policy_reason(domain, knowledge)}", 500))
        case Decision.NOT_FOUND:
            return NOT_FOUND
    raise ValueError("WAIT is not an answer, nor is a pin without patterns")


def _dane_reason(knowledge: Knowledge, now: float) -> str:
    found = outcome(knowledge, now)
    return found.failure if found else "no answer"


def _policy_reason(domain: Domain, knowledge: Knowledge) -> str:
    """Why it is not known whether there is a policy."""
    match knowledge.step:
        case PolicyStep.UNREAD:
            return f"the policy of {domain} could not be read in time"
        case PolicyStep.OWN_FAULT:
            return f"internal error for {domain}; see the log"
    failure = knowledge.state.failure if knowledge.state else None
    return f"DNS failure for {domain}: {failure.reason if failure else 'no answer in time'}"


def _by_policy(domain: Domain, knowledge: Knowledge, reply_format: ReplyFormat) -> Reply:
    policy = knowledge.state.policy if knowledge.state else None
    if policy is None:
        return NOT_FOUND
    secure = _secure(policy.mx, reply_format)
    if not reply_format.tlsrpt:
        return Found((secure,))
    attributes = " ".join([secure, *_sts_attributes(domain, policy)])
    return Found((attributes + _policy_strings(policy.text), attributes, secure))


def _policy_strings(text: str) -> str:
    """The lines of a policy; none if they cannot fit into a reply: it has up to 16,000 lines."""
    lines = _SAFE_LINE.findall(text)
    if len(lines) * len(_POLICY_STRING) > LONGEST:
        return ""
    texts = (line.replace("\t", " ").rstrip(" ") for line in lines)
    return "".join(map(_POLICY_STRING.format, texts))


def _secure(mx: Iterable[MxPattern], reply_format: ReplyFormat) -> str:
    # Postfix writes "all subdomains" as .example.com; a pattern has no other "*".
    match = ":".join(mx).replace("*", "")
    return f"secure match={match}" + (" servername=hostname" if reply_format.servername else "")


def _sts_attributes(domain: Domain, policy: Policy) -> list[str]:
    # Never policy_failure=: smtp(8) of Postfix 3.10 and 3.11 panics on it.
    patterns = [f"mx_host_pattern={pattern}" for pattern in policy.mx]
    return ["policy_type=sts", f"policy_domain={domain}", *patterns]
