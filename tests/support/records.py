"""Exceptions, checks and events as a store keeps them."""

from postfix_mta_sts.mtasts.check import Check, CheckResult
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.exceptions import PolicyException, Use, parse_exception, parse_scope
from postfix_mta_sts.mtasts.weakening import Weakening, WeakeningKind


def an_exception(
    scope: str = "good.test", use: Use = Use.IGNORE, reason: str = "ticket 1", until: float = 5e9
) -> PolicyException:
    """Make an exception that a command has added."""
    mx = ("mx1.good.test", "*.good.test") if use is Use.PIN else ()
    return parse_exception(parse_scope(scope), use, reason, until, mx=mx, added_at=1000.5, uid=1000)


def a_check(
    domain: str = "good.test", at: float = 1000.0, result: CheckResult = CheckResult.HELD
) -> Check:
    """Make a check."""
    sentence = "Postfix holds the mail: the certificate expired."
    return Check(Domain(domain), result, sentence, "expired", "theirs", "id1", at, at - 10.0)


def a_weakening(
    domain: str = "good.test", at: float = 1000.0, before: str = "enforce"
) -> Weakening:
    """Make an event."""
    return Weakening(Domain(domain), WeakeningKind.MODE, before, "testing", "id1", at)
