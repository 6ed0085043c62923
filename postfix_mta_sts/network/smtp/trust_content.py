"""Pass on CA certificates of Postfix: the daemon reads them, its network process uses them.

They may be anywhere, and postconf(1) names them only when a check begins; the sandbox of the
network process hides such files. OpenSSL, by pyOpenSSL, wants a file: one in memory is one.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from postfix_mta_sts.network.authorities import HASHED
from postfix_mta_sts.network.smtp.values import TrustFiles
from postfix_mta_sts.values import replace

LIMIT: Final = 8 * 2**20
"""Bytes in all; a usual bundle has 220 KiB."""


def with_content(files: TrustFiles) -> TrustFiles:
    """Read the files; may block. Those that cannot be read are left to the process that probes."""
    if not hasattr(os, "memfd_create"):
        return files
    try:
        content = b"\n".join(_contents(files))
    except OSError:
        return files
    return replace(files, content=content) if len(content) <= LIMIT else files


@contextmanager
def in_memory(content: bytes) -> Iterator[str]:
    """A path of a file with this content, while the context lasts; raises `OSError`."""
    fd = os.memfd_create("certificates", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(fd), "wb") as file:
            file.write(content)
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def _contents(files: TrustFiles) -> Iterator[bytes]:
    if files.ca_file:
        yield _read(Path(files.ca_file))
    if files.ca_path:
        for path in sorted(Path(files.ca_path).iterdir()):
            if HASHED.fullmatch(path.name):
                yield _read(path)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(LIMIT + 1)
