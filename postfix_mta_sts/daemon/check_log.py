"""The lines of the log about checks of domains: a result that is other than before."""

import logging

from postfix_mta_sts.admin.times import moment
from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts.check import Check, CheckResult
from postfix_mta_sts.stats.labels import Purpose

_log = logging.getLogger(__name__)


def log_check(purpose: Purpose, check: Check, before: Check | None) -> None:
    """Log a check; `before` is the one that was made last."""
    domain, known = check.domain, before.result if before else None
    event(
        _log,
        logging.DEBUG,
        "mail servers checked",
        domain,
        purpose=purpose.value,
        result=check.result.value,
        reason=check.sentence,
        cause=check.cause,
    )
    if check.result is CheckResult.DELIVERED and known is not CheckResult.DELIVERED:
        if purpose is Purpose.EXCEPTION:
            since = moment(check.since).replace(" ", "T")
            event(_log, logging.INFO, "domain would verify again", domain, since=since)
        elif known is CheckResult.HELD:
            event(_log, logging.INFO, "trial: mail would not be held any more", domain)
    if check.result is CheckResult.HELD and known is not CheckResult.HELD:
        _log_held(purpose, check)


def _log_held(purpose: Purpose, check: Check) -> None:
    """Log that mail would be held; of a domain with an exception, that is known."""
    level = logging.INFO if purpose is Purpose.TRIAL else logging.DEBUG
    event(
        _log,
        level,
        "mail would be held",
        check.domain,
        reason=check.sentence,
        cause=check.cause,
        fault=check.fault,
        id=check.policy_id or None,
    )
