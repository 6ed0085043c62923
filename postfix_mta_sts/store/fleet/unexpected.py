"""What an engine raises beside `FleetError`: by a fault of its library, of the store, or of ours.

The libraries document no complete list: asyncpg raises `BufferError` and `AssertionError` for what
a server sends, and a row of another shape than ours ends in a `TypeError`. Whatever it is, it is a
failure of the store, so that the breaker sees it and the log has it once.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import walk_tb

from postfix_mta_sts.store.fleet.errors import CannotServeError, FleetError


@contextmanager
def failing_as_store() -> Iterator[None]:
    """Raise what the block raises as `FleetError`; a `TimeoutError` stays what it is.

    The text of the error is left out, because it may quote what the server has sent: a row, or the
    password.
    """
    try:
        yield
    except (FleetError, TimeoutError):
        raise
    # Not at the top of a task: several call the engine, and each would have to do the same.
    except Exception as error:
        said = f"unexpected {type(error).__name__} in {_place(error)}"
        raise CannotServeError(said, "report it, with the version of the store") from error


def _place(error: Exception) -> str:
    """Where it was raised: file and line."""
    *_, (frame, line) = walk_tb(error.__traceback__)
    return f"{Path(frame.f_code.co_filename).name}, line {line}"
