"""The lines of the log about exceptions: each change, each end, and the warnings before it.

The domain comes first, and each line has all facts of the exception. docs/logs.md explains them.
"""

import logging
from typing import Any, Final

from postfix_mta_sts.admin.exceptions.shared import ByScope
from postfix_mta_sts.admin.exceptions.stages import Stage
from postfix_mta_sts.admin.times import moment
from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts.exceptions import PolicyException
from postfix_mta_sts.mtasts.lifecycle import DAY

SAID_AGAIN: Final = DAY
"""A daemon that starts within these seconds after an end says it: it may have been down then."""

_log = logging.getLogger(__name__)


def log_stage(exception: PolicyException, stage: Stage, said: Stage | None, now: float) -> None:
    """Log the stage of an exception; `said`: the one that was logged last, None at first."""
    if stage is said:
        return
    if stage is not Stage.ENDED:
        _log_before_end(exception, stage, said, now)
    elif said is not None:
        _log_end(exception)
    elif exception.added_at is None:
        _log_lapsed(exception)
    elif exception.until is not None and now - exception.until < SAID_AGAIN:
        _log_end(exception)


def _log_before_end(
    exception: PolicyException, stage: Stage, said: Stage | None, now: float
) -> None:
    if said is Stage.ENDED:
        _log_in_force_again(exception)
    elif stage > (said or Stage.FAR) and exception.until is not None:
        _log_ends_soon(exception, exception.until - now)


def log_added(exception: PolicyException, replaced: PolicyException | None) -> None:
    """Log an exception that was added; `replaced`: in place of which one."""
    facts = _facts(exception)
    if replaced:
        old: dict[str, Any] = {"old_use": replaced.use, "old_until": _until(replaced)}
        event(_log, logging.INFO, "exception replaced", exception.scope, **facts, **old)
    else:
        event(_log, logging.INFO, "exception added", exception.scope, **facts)


def log_removed(exception: PolicyException, uid: int | None, relay: str = "") -> None:
    """Log that an exception was removed, by the user `uid`, in a fleet on the relay `relay`."""
    facts = {**_facts(exception), "uid": uid, "relay": relay or None}
    event(_log, logging.INFO, "exception removed", exception.scope, **facts)


def log_differences(before: ByScope, after: ByScope, relay: str) -> None:
    """Log what another relay has changed; `relay`: the one that has removed something."""
    for scope, exception in after.items():
        if before.get(scope) != exception:
            log_added(exception, before.get(scope))
    for scope in before.keys() - after.keys():
        log_removed(before[scope], None, relay)


def _log_end(exception: PolicyException) -> None:
    event(_log, logging.INFO, "exception ended", exception.scope, **_facts(exception))


def _log_lapsed(exception: PolicyException) -> None:
    event(
        _log,
        logging.WARNING,
        "exception of the configuration has ended, remove it",
        exception.scope,
        **_facts(exception),
    )


def _log_ends_soon(exception: PolicyException, seconds: float) -> None:
    facts = _facts(exception)
    event(
        _log,
        logging.WARNING,
        "exception ends soon",
        exception.scope,
        ends_in=round(seconds),
        **facts,
    )


def _log_in_force_again(exception: PolicyException) -> None:
    event(
        _log,
        logging.WARNING,
        "exception in force again, the clock was set back",
        exception.scope,
        **_facts(exception),
    )


def _facts(exception: PolicyException) -> dict[str, Any]:
    """The fields of every line about an exception."""
    return {
        "use": exception.use,
        "until": _until(exception),
        "reason": exception.reason,
        "mx": list(exception.mx) or None,
        "dane": "ignore" if exception.ignores_dane else None,
        "uid": exception.uid,
        "relay": exception.relay or None,
    }


def _until(exception: PolicyException) -> str:
    return "forever" if exception.until is None else moment(exception.until).replace(" ", "T")
