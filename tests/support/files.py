"""Limits of this process."""

import resource
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager


@contextmanager
def files_limit(soft: int) -> Iterator[None]:
    """Limit the number of open files inside the block."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def no_descriptor_free() -> AbstractContextManager[None]:
    """Let no file and no socket be opened inside the block."""
    return files_limit(0)
