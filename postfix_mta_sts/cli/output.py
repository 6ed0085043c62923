"""Standard output whose reader may end before the command, or that cannot be written."""

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
