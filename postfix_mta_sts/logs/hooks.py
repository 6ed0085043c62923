"""Log what Python itself would print to standard error, which may block."""

import logging
import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING

from postfix_mta_sts.logs.events import event

if TYPE_CHECKING:
    from sys import UnraisableHookArgs  # exists only there

_log = logging.getLogger(__name__)


def log_uncaught() -> None:
    """Log exceptions that nobody catches, and warnings, from now on.

    Ctrl-C stays as it is: it is for the terminal.
    """
    sys.excepthook = _in_main
    sys.unraisablehook = _unraisable
    threading.excepthook = _in_thread
    logging.captureWarnings(capture=True)


def _in_main(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        _uncaught(error, "main program")


def _in_thread(args: threading.ExceptHookArgs) -> None:
    _uncaught(args.exc_value, args.thread.name if args.thread else "thread")


def _unraisable(args: "UnraisableHookArgs") -> None:
    # Not the object itself, as Python would: its repr() may be what failed.
    _uncaught(args.exc_value, args.err_msg or type(args.object).__name__)


def _uncaught(error: BaseException | None, where: str) -> None:
    event(_log, logging.ERROR, "uncaught exception", where=where, exc_info=error)
