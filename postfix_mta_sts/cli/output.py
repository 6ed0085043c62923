"""Standard streams that are closed, or whose reader ends before the command."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from postfix_mta_sts.cli.parser import CommandError


@contextmanager
def output_to_reader(exit_code: int) -> Iterator[None]:
    """Write what is printed within; a reader that has ended, such as `head`, has what it wants.

    Raises `CommandError` with this exit code if it cannot be written.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        discard_output()
    except OSError as error:
        discard_output()
        raise CommandError(f"standard output: {error.strerror}", exit_code) from error


def discard_output() -> None:
    """Have the flush at the exit of the interpreter succeed ("Note on SIGPIPE", Python manual)."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def open_closed_streams() -> None:
    """Have each standard stream: Python has None for one that was closed before the start.

    What is written to it is discarded, and to read it is an error. No file gets its number, as an
    error message would go into that.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            setattr(sys, name, os.fdopen(number, "w" if number else "r"))
