"""Read the text of a configuration file: bounded in bytes and in time, and UTF-8."""

import codecs
import errno
import os
import select
import stat
from pathlib import Path
from typing import Final

SIZE_LIMIT: Final = 256 * 2**10
"""Bytes. The example with all comments has 9 KiB; to parse this limit takes some 5 s."""
PIPE_PATIENCE: Final = 5.0
"""Seconds that a pipe may be silent."""
_UTF_16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(path: Path, patience: float = PIPE_PATIENCE) -> str:
    """Return the text of the file, or of a pipe. Raises `OSError`; `strerror` has the advice."""
    # O_NONBLOCK: opening a FIFO would wait for a process that writes to it, for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise _refused(errno.EISDIR, "it is a folder; name a file in it", path)
        data = _read(descriptor, path, patience)
    finally:
        os.close(descriptor)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _refused(errno.EILSEQ, _not_utf_8(data, error, path), path) from None


def _read(descriptor: int, path: Path, patience: float) -> bytes:
    data, poll = bytearray(), select.poll()
    poll.register(descriptor, select.POLLIN)
    while poll.poll(1000 * patience):
        part = os.read(descriptor, SIZE_LIMIT)
        data += part
        if len(data) > SIZE_LIMIT:
            reason = f"it is larger than {SIZE_LIMIT // 2**10} KiB, so it is no configuration"
            raise _refused(errno.EFBIG, reason, path)
        if not part:
            return bytes(data)
    reason = f"it is a pipe, and no process writes to it for {patience:g} s; name a file"
    raise _refused(errno.ETIMEDOUT, reason, path)


def _not_utf_8(data: bytes, error: UnicodeDecodeError, path: Path) -> str:
    if data.startswith(_UTF_16):
        return f"it is UTF-16; save it as UTF-8: iconv -f UTF-16 -t UTF-8 {path}"
    before = data[: error.start]
    line = before.count(b"\n") + 1
    column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8")) + 1
    place = f"byte 0x{data[error.start]:02X} in line {line}, column {column} is not UTF-8"
    return f"{place}; save it as UTF-8, for example: iconv -f ISO-8859-1 -t UTF-8 {path}"


def _refused(number: int, reason: str, path: Path) -> OSError:
    return OSError(number, reason, str(path))
