"""Find what was enforced for a domain and is weaker now (RFC 8461 §10.2, §10.3).

Pure. An attacker in control of a Policy Host or of the DNS would make such changes, and so do
administrators of domains. Each function compares what was known before an answer of the network
with what is known after it, so that each weakening is found once, and a renewal, a failure or a
restart is none. Exceptions change nothing: this is about what the domain publishes.
"""

import enum
from collections.abc import Collection, Iterator
from typing import Final

from postfix_mta_sts.mtasts.dane import DaneKind
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import InvalidRecordError
from postfix_mta_sts.mtasts.lifecycle import State, live
from postfix_mta_sts.mtasts.policy import Mode, MxPattern, Policy, shortened
from postfix_mta_sts.mtasts.verdict import Verdict
from postfix_mta_sts.values import Value

TEXT_LIMIT: Final = 500
"""Characters of `before` and of `after`: an event must fit into 4 KiB (`admin.alerts`)."""

_UNPROTECTED: Final = frozenset({DaneKind.NONE, DaneKind.INSECURE, DaneKind.UNUSABLE})


class WeakeningKind(enum.StrEnum):
    """What became weaker."""

    MODE = "mode"
    """From enforce to testing or none."""
    MX = "mx"
    """The policy names other mail servers: all are new, or one is below another domain."""
    RECORD = "record"
    """The TXT record is gone while a policy is in force."""
    MAX_AGE = "max_age"
    """It is shorter than before, so that the policy is forgotten earlier."""
    DANE = "dane"
    """DANE protected all or some MX hosts, and does not any more."""


class Weakening(Value, frozen=True):
    """One event; all text is printable ASCII."""

    domain: Domain
    kind: WeakeningKind
    before: str
    after: str
    policy_id: str
    """The id of the policy in force after the event; empty: there is none."""
    at: float
    """Epoch seconds."""


def weakenings(
    domain: Domain, before: State | None, after: State, now: float
) -> Iterator[Weakening]:
    """Yield what an attempt that ended at `now` (epoch seconds) has found to be weaker.

    Only a policy that was in mode enforce counts, also one that has expired since: it is the last
    that is known. A policy that leaves mode enforce is one event, whatever else has changed.
    """
    old, new = before.policy if before else None, after.policy
    if before is None or old is None or new is None or old.mode is not Mode.ENFORCE:
        return
    for kind, was, becomes in _weaker(old, new):
        yield Weakening(domain, kind, was, becomes, after.policy_id or "", now)
    lost_record = after.record_was_gone and not before.record_was_gone and live(before, now)
    if lost_record and new.mode is Mode.ENFORCE:
        invalid = after.failure and after.failure.code == InvalidRecordError.code
        becomes = "no valid record" if invalid else "no record"
        was = f"id={before.policy_id}"
        yield Weakening(domain, WeakeningKind.RECORD, was, becomes, after.policy_id or "", now)


def dane_weakenings(
    domain: Domain, before: Verdict | None, after: Verdict, policy_id: str, now: float
) -> Iterator[Weakening]:
    """Yield the event if DANE authenticated an MX host before this look-up, and does not now.

    A look-up that fails takes nothing away, and the next one that does not is compared with what
    was known before it. `policy_id`: of the policy in force; empty: there is none.
    """
    if before is not None and before.protects and after.kind in _UNPROTECTED:
        was = "protected" if before.was_protected else before.kind
        yield Weakening(domain, WeakeningKind.DANE, was, after.kind, policy_id, now)


def in_words(weakening: Weakening) -> str:
    """Describe an event in one sentence that begins with the domain."""
    return f"{weakening.domain}: {_what(weakening.kind, weakening.before, weakening.after)}"


def _what(kind: WeakeningKind, before: str, after: str) -> str:
    match kind:
        case WeakeningKind.MODE:
            return f"its policy is no longer enforced, the mode is {after} now"
        case WeakeningKind.MX:
            return f"its policy names other mail servers: {after} (before: {before})"
        case WeakeningKind.RECORD:
            return f"its TXT record is gone ({after}); its policy is in force until it ends"
        case WeakeningKind.MAX_AGE:
            return f"the max_age of its policy is {after} s, it was {before} s"
    return f"DANE does not protect its mail servers any more ({after}; before: {before})"


def _weaker(old: Policy, new: Policy) -> Iterator[tuple[WeakeningKind, str, str]]:
    """Yield in what a policy is weaker than an enforced one that it replaces.

    Any shorter max_age counts, and not only one below half: it is the time for which an attacker
    must keep the policy from being renewed (§10.2), and a limit could be passed in small steps.
    """
    if new.mode is not Mode.ENFORCE:
        yield WeakeningKind.MODE, old.mode, new.mode
        return
    if _is_replaced(old, new):
        yield WeakeningKind.MX, _listed(old.mx), _listed(new.mx)
    if new.max_age < old.max_age:
        yield WeakeningKind.MAX_AGE, str(old.max_age), str(new.max_age)


def _is_replaced(old: Policy, new: Policy) -> bool:
    """Whether the new policy names other mail servers: all are new, or one is below a new domain.

    A server that is added next to the others is none, nor are names below an old `*.example.com`.
    Without the second rule, two steps would replace all of them: A, then A and B, then B.
    """
    others = [each for each in new.mx if each not in old.mx and not old.allows(each)]
    if not others:
        return False
    domains = {_domain_of(each) for each in old.mx}
    return set(old.mx).isdisjoint(new.mx) or not all(_is_below(each, domains) for each in others)


def _domain_of(pattern: MxPattern) -> str:
    """Return the domain of a mail server: `example.com` of `mx1.example.com` and `*.example.com`.

    Of a name with two labels it is the name itself.
    """
    name = pattern.removeprefix("*.")
    domain = name if name != pattern else name.partition(".")[2]
    return domain if "." in domain else name


def _is_below(pattern: MxPattern, domains: Collection[str]) -> bool:
    name = pattern.removeprefix("*.")
    return any(name == domain or name.endswith(f".{domain}") for domain in domains)


def _listed(patterns: tuple[MxPattern, ...]) -> str:
    """Write patterns as far as there is room; `+N` stands for N more."""
    text = " ".join(patterns)
    return text if len(text) <= TEXT_LIMIT else " ".join(shortened(patterns, TEXT_LIMIT - 6))
