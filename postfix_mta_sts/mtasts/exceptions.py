"""Exceptions: what an administrator has decided for some domains, in place of their policies.

Pure. `config` and the command `exception` make them, `overrides` says what the one in force puts in
place of a policy. It is in force until its end; that needs no action by anybody. The policy of the
domain is looked up and cached as always, so that the end of an exception needs no network.
"""

import enum
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Final, NewType

from postfix_mta_sts.mtasts.domain import Domain, parse_domain
from postfix_mta_sts.mtasts.errors import InvalidDomainError, printable
from postfix_mta_sts.mtasts.policy import Mode, MxPattern, Policy, is_pattern
from postfix_mta_sts.mtasts.sharing import is_relay_name
from postfix_mta_sts.values import Value

REASON_LIMIT: Final = 200
"""Characters of a reason; it is shown in lists and in the log."""
MX_LIMIT: Final = 20
"""Patterns of a pin."""

Scope = NewType("Scope", str)
"""A domain, or `*.` and a domain: all names below it, at any depth, and not itself."""


class InvalidExceptionError(ValueError):
    """An exception is not valid; `str()` is one printable line that says what to write."""


class Use(enum.StrEnum):
    """What decides about a domain in place of its policy."""

    IGNORE = "ignore"
    """Nothing: the answer is "not found", and the security level of main.cf is in force."""
    MAY = "may"
    """Opportunistic TLS: mail is also sent in the clear."""
    ENCRYPT = "encrypt"
    """TLS, without verification."""
    ENFORCE = "enforce"
    """Its policy, of which mode testing is treated as enforce."""
    PIN = "pin"
    """A fixed list of mx patterns, whatever the domain publishes."""


class PolicyException(Value, frozen=True):
    """One exception; made by `parse_exception`."""

    scope: Scope
    use: Use
    reason: str
    """Why, for people: one line of printable text."""
    until: float | None
    """Its end in epoch seconds; None: there is none."""
    mx: tuple[MxPattern, ...] = ()
    """Of a pin; otherwise empty."""
    ignores_dane: bool = False
    """Whether it also stands in place of DANE; only `MAY` and `ENCRYPT` can."""
    added_at: float | None = None
    """When a command added it, in epoch seconds; None: it is in the configuration."""
    uid: int | None = None
    """The user that added it; None: not known, or it is in the configuration."""
    relay: str = ""
    """The relay of a fleet that it was added on; empty: not known, or there was no fleet."""

    def is_in_force(self, now: float) -> bool:
        """Whether it has not ended at `now`."""
        return self.until is None or now < self.until


class Exceptions(Value, frozen=True):
    """All exceptions, by scope: those of the configuration, and those that commands have added."""

    configured: Mapping[Scope, PolicyException] = MappingProxyType({})
    added: Mapping[Scope, PolicyException] = MappingProxyType({})

    def all(self) -> Sequence[PolicyException]:
        """Those of the configuration, then those that commands have added."""
        return (*self.configured.values(), *self.added.values())

    def in_force(self, name: Domain | Scope, now: float) -> PolicyException | None:
        """The exception for a domain at `now`: the longest scope, the configuration first.

        For a scope with a wildcard, that which all names below it have, unless they have another.
        """
        if not self.configured and not self.added:  # most often
            return None
        candidates = (
            found[scope]
            for scope in scopes_of(name)
            for found in (self.configured, self.added)
            if scope in found
        )
        return next((each for each in candidates if each.is_in_force(now)), None)

    def next_change(self, domain: Domain, now: float) -> float | None:
        """When the exception for a domain ends, in epoch seconds; None: never, or there is none.

        Another, wider one may be in force then.
        """
        found = self.in_force(domain, now)
        return found.until if found else None


NO_EXCEPTIONS: Final = Exceptions()


def scopes_of(name: Domain | Scope) -> Iterator[Scope]:
    """Yield the scopes that contain a domain, or all names of a scope, the longest first."""
    yield Scope(name)
    parent = name.removeprefix("*.").partition(".")[2]
    while parent:
        yield Scope(f"*.{parent}")
        parent = parent.partition(".")[2]


def parse_scope(text: str, *, anyway: bool = False) -> Scope:
    """Read `example.com` or `*.example.com`; `*.com` only `anyway`.

    Raises `InvalidExceptionError`.
    """
    wildcard = "*." if text.startswith("*.") else ""
    try:
        domain = parse_domain(text.removeprefix(wildcard))
    except InvalidDomainError as error:
        raise InvalidExceptionError(f"{error}; write example.com or *.example.com") from None
    if "." not in domain:
        if not wildcard:
            reason = "has one label, and no policy can apply to it"
            raise InvalidExceptionError(f"{domain} {reason}; write a domain like example.com")
        if not anyway:
            reason = "stands for a whole top-level domain; add --anyway if that is meant"
            raise InvalidExceptionError(f"*.{domain} {reason}")
    return Scope(f"{wildcard}{domain}")


def reason_length(reason: str) -> int:
    """Count the characters of a reason as it is shown; one outside ASCII is an escape of some."""
    return len(printable(reason, 4 * len(reason)))  # no escape is longer than ten


def parse_exception(  # noqa: PLR0913 - independent values
    scope: Scope,
    use: Use,
    reason: str,
    until: float | None,
    *,
    mx: tuple[str, ...] = (),
    ignores_dane: bool = False,
    added_at: float | None = None,
    uid: int | None = None,
    relay: str = "",
) -> PolicyException:
    """Make an exception of values that may not fit together. Raises `InvalidExceptionError`."""
    # Twice, because escapes make it longer: what a store has is read as it was written.
    text = printable(printable(reason.strip(), REASON_LIMIT), REASON_LIMIT)
    if not text:
        raise InvalidExceptionError("a reason is needed: one line for the next administrator")
    if ignores_dane and use not in {Use.MAY, Use.ENCRYPT}:
        raise InvalidExceptionError(f"{use} cannot ignore DANE: only may and encrypt can")
    patterns = tuple(dict.fromkeys(parse_mx_pattern(each) for each in mx))
    if (use is Use.PIN) != bool(patterns):
        what = (
            "pin needs mx, a list of names" if use is Use.PIN else f"mx is for pin, not for {use}"
        )
        raise InvalidExceptionError(what)
    if len(patterns) > MX_LIMIT:
        raise InvalidExceptionError(f"mx has more than {MX_LIMIT} names")
    if relay and not is_relay_name(relay):
        raise InvalidExceptionError(f"the name of its relay is no name: {printable(relay)}")
    return PolicyException(scope, use, text, until, patterns, ignores_dane, added_at, uid, relay)


def pinned_policy(pin: PolicyException) -> Policy:
    """Return a pin as the policy that is enforced in its place; it has no text, id or end."""
    return Policy("", Mode.ENFORCE, pin.mx, 0)


def parse_mx_pattern(text: str) -> MxPattern:
    """Read a pattern of a pin as a person writes it: with a final dot, or in its own script.

    Raises `InvalidExceptionError`.
    """
    wildcard = "*." if text.startswith("*.") else ""
    with suppress(InvalidDomainError):
        pattern = f"{wildcard}{parse_domain(text.removeprefix(wildcard))}"
        if is_pattern(pattern):
            return MxPattern(pattern)
    quoted, allowed = f"'{printable(text)}'", "write mx1.example.com or *.example.com"
    raise InvalidExceptionError(f"mx: {quoted} is no mx pattern; {allowed}")
