"""The file of results of a scan: JSON lines, to which a scan appends and which the next one reads.

The first line says what the file is, so that no other file is ever changed. A line that has no end,
because the machine or the command stopped while it was written, is removed.
"""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, FileIO
from pathlib import Path
from typing import Final

from postfix_mta_sts.admin.findings import Finding
from postfix_mta_sts.cli.parser import CommandError
from postfix_mta_sts.cli.trial.tally import USAGE
from postfix_mta_sts.values import json_decoder, to_json

HEADER: Final = b'{"format":"postfix-mta-sts trial scan","version":1}\n'
_LINE_LIMIT: Final = 65_536
"""Bytes; a finding has about 300, and 3,000 at most."""
_MODE: Final = 0o600
"""Nobody else needs to know to which domains mail is sent."""
_decode = json_decoder(Finding)


class Results:
    """An open file of results; made by `open_results`."""

    def __init__(self, name: str, file: FileIO) -> None:
        self._name = name
        self._file = file

    def read(self) -> Iterator[Finding]:
        """Yield the findings in the file, then make it ready for `append`.

        A line that is not valid is left out, so that its domain is looked at again. Raises
        `CommandError` if it is no file of results.
        """
        reader = BufferedReader(self._file)
        end = self._check_header(reader.readline(len(HEADER)))
        while (line := reader.readline(_LINE_LIMIT)).endswith(b"\n"):
            end += len(line)
            try:
                finding = _decode(line.decode())
            except ValueError:
                continue
            yield finding
        if len(line) == _LINE_LIMIT:
            raise CommandError(f"{self._name}: a line of more than {_LINE_LIMIT} bytes", USAGE)
        reader.detach()
        if line:
            self._file.truncate(end)
        self._file.seek(end)
        if not end:
            self._write(HEADER)

    def append(self, finding: Finding) -> None:
        """Write a finding; it is in the file when this returns."""
        self._write(to_json(finding).encode() + b"\n")

    def _check_header(self, first: bytes) -> int:
        """Return where the findings begin; `first` is the first line."""
        if first == HEADER:
            return len(HEADER)
        if not HEADER.startswith(first):  # and not the start of one, from a scan that was killed
            advice = "name one that a scan has written, or one that does not exist"
            raise CommandError(f"{self._name}: not a file of results; {advice}", USAGE)
        self._file.truncate(0)
        return 0

    def _write(self, line: bytes) -> None:
        rest = memoryview(line)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise CommandError(f"{self._name}: {error.strerror}", USAGE) from error


@contextmanager
def open_results(name: str) -> Iterator[Results]:
    """Open or create a file of results, for this command alone. Raises `CommandError`."""
    try:
        descriptor = os.open(Path(name), os.O_RDWR | os.O_CREAT, _MODE)
    except OSError as error:
        raise CommandError(f"{name}: {error.strerror}", USAGE) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # to read a pipe might take for ever
        os.close(descriptor)
        raise CommandError(f"{name}: not a regular file", USAGE)
    with FileIO(descriptor, "r+") as file:  # no buffer: see `Results.append`
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(f"{name}: another scan writes to it", USAGE) from None
        yield Results(name, file)
