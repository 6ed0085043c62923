"""What is wrong with the value of an `mx` field of a policy, and which patterns are meant."""

import re
from typing import Final, TypeAlias

from postfix_mta_sts.mtasts.domain import ends_in_number, parse_domain
from postfix_mta_sts.mtasts.errors import InvalidDomainError
from postfix_mta_sts.mtasts.mistakes.repair import Repair, Wrong, repair
from postfix_mta_sts.mtasts.policy import is_pattern

Meant: TypeAlias = tuple[str, ...] | None
"""Patterns; None: it cannot be told which, so that the MX hosts of the domain are to be written."""

_OF_ALL: Final = (
    Repair.of(
        "mx-zone-line",
        "an MX record of a zone file",
        r"^(?:\S+\s+)?(?:IN\s+)?MX\s+(?:[0-9]+\s+)?",
        "",
    ),
    Repair.of("mx-preference", "the preference of an MX record", r"(^|[,;\s])[0-9]+\s+", r"\1"),
    Repair.of("mx-url", "a URL", r"[a-z]+:/+|(?<=[a-z0-9])/[^,;\s]*", ""),
    Repair.of("mx-mail-address", "a mail address", r"[^\s,;]*@", ""),
)
_OF_EACH: Final = (
    Repair.of("mx-port", "a port after a host", r"(?<=[a-z]):[0-9]+$", ""),
    Repair.of("mx-final-dot", "a dot at the end", r"(?<=[^.*])\.+$", ""),
    Repair.of("mx-leading-dot", "a dot in place of the star", r"^\.+(?=[^.])", "*."),
    Repair.of("mx-two-stars", "two stars; one stands for one label", r"^(?:\*\.){2,}", "*."),
    Repair.of("mx-part-star", "a star for a part of a label", r"^(?!\*\.)[^.]*\*[^.]*\.", "*."),
)
_BRACKETS: Final = "[]<>()"
_MOST: Final = 20  # values in one line


def patterns_meant(value: str) -> tuple[list[Wrong], Meant]:
    """Return what is wrong with a value, and the patterns that are meant.

    A good value is the pattern that is meant.
    """
    wrong, better = repair(value, _OF_ALL)
    if any(code == "mx-mail-address" for code, _ in wrong):
        return wrong, None
    parts = [part for part in re.split(r"[,;|\s]+", better) if part][:_MOST]
    if len(parts) > 1:
        wrong.append(Wrong("mx-list", "several hosts in one line"))
    meant: list[str] = []
    for part in parts:
        more, pattern = _pattern_meant(part)
        wrong += more
        if pattern is None:
            return wrong, None
        meant.append(pattern)
    if not wrong and meant != [value]:
        wrong.append(Wrong("mx-value", "no host name"))
    return wrong, tuple(dict.fromkeys(meant))


def _pattern_meant(part: str) -> tuple[list[Wrong], str | None]:
    wrong, host = repair(part.strip(_BRACKETS), _OF_EACH)
    if host in {"*", "*."}:
        return [*wrong, Wrong("mx-star", "a star names no host")], None
    if ends_in_number(host) or ":" in host:
        return [*wrong, Wrong("mx-address", "an IP address, which no certificate can match")], None
    if not host.isascii():
        star = "*." if host.startswith("*.") else ""
        try:
            host = star + parse_domain(host.removeprefix("*."))
        except InvalidDomainError:
            return [*wrong, Wrong("mx-value", "no host name")], None
        wrong.append(Wrong("mx-u-label", "letters beyond ASCII, not A-labels"))
    if "." not in host:
        return [*wrong, Wrong("mx-single-label", "not a full host name")], None
    if not is_pattern(host):
        return [*wrong, Wrong("mx-value", "no host name")], None
    if host != part and not wrong:
        wrong.append(Wrong("mx-brackets", "brackets around a host"))
    return wrong, host
