"""Read files of any size line by line, in bounded memory: lists, mail logs, and packed ones.

What a line means is up to the caller.
"""

import gzip
import sys
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from io import BufferedReader
from pathlib import Path
from typing import Final, TypeAlias, cast

from postfix_mta_sts.cli.parser import CommandError
from postfix_mta_sts.cli.trial.tally import USAGE

Readable: TypeAlias = BufferedReader | gzip.GzipFile
STDIN: Final = "-"
CHUNK: Final = 1 << 18
"""Bytes that are read at once."""
_GZIP: Final = b"\x1f\x8b"  # RFC 1952 §2.3.1
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


@contextmanager
def opened(name: str) -> Iterator[Readable]:
    """Open a file or standard input (`-`), unpacked if it is a gzip file by its first bytes.

    Raises `CommandError`, also for an error while it is read in the context.
    """
    try:
        with _raw(name) as file:
            if not file.peek(2).startswith(_GZIP):
                yield file
                return
            with gzip.open(file) as unpacked:
                yield unpacked
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CommandError(f"{name}: the gzip file is damaged or incomplete", USAGE) from error
    except OSError as error:
        raise CommandError(f"{name}: {error.strerror or error}", USAGE) from error


def _raw(name: str) -> AbstractContextManager[BufferedReader]:
    if name == STDIN:
        return nullcontext(cast("BufferedReader", sys.stdin.buffer))
    return Path(name).open("rb")


def lines(stream: Readable, limit: int) -> Iterator[bytes | None]:
    """Yield each line without its line feed; None for one that is longer than `limit` bytes."""
    rest, is_too_long = b"", False
    first = True
    while chunk := stream.read(CHUNK):
        if first:
            chunk, first = chunk.removeprefix(_BYTE_ORDER_MARK), False
        head, *more = chunk.split(b"\n")
        rest += head
        for following in more:
            yield None if is_too_long or len(rest) > limit else rest
            rest, is_too_long = following, False
        if len(rest) > limit:
            rest, is_too_long = b"", True
    if rest or is_too_long:
        yield None if is_too_long or len(rest) > limit else rest
