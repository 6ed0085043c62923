"""What has changed of a domain → its line in the log, at the level that its weight asks for."""

import logging
from typing import Final

from postfix_mta_sts.logs import event
from postfix_mta_sts.mtasts.changes import Change, Severity
from postfix_mta_sts.mtasts.domain import Domain

_LEVELS: Final = {
    Severity.DETAIL: logging.DEBUG,
    Severity.NOTE: logging.INFO,
    Severity.WARNING: logging.WARNING,
}


def record(logger: logging.Logger, domain: Domain, change: Change) -> None:
    """Log a change."""
    event(logger, _LEVELS[change.severity], change.what, domain, exc_info=None, **change.fields)
