"""The keys that sign records: read from a file, chosen by their id."""

import os
import re
import stat
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final

from postfix_mta_sts.errors import UserError
from postfix_mta_sts.values import Value

MAKE_ONE: Final = "openssl rand -hex 32"
"""The command that prints a key."""

_IN_A_CONTAINER: Final = "in a container, give the secret mode 0440"
_KEY: Final = re.compile(rb"(?:[0-9A-Fa-f]{2}){32,128}")
_SIZE_LIMIT: Final = 4096
_KEYS_LIMIT: Final = 2
_OTHERS: Final = stat.S_IROTH | stat.S_IWOTH


class Keyring(Value, frozen=True):
    """One or two keys: the first signs, each verifies."""

    keys: Mapping[str, bytes]
    """By id, eight hexadecimal digits of the key's SHA-256; in the order of the file."""

    @property
    def signing(self) -> tuple[str, bytes]:
        """The id and the key with which records are signed."""
        return next(iter(self.keys.items()))

    def __repr__(self) -> str:
        return f"Keyring({', '.join(self.keys)})"


def key_id(key: bytes) -> str:
    """Return the id of a key; it says nothing about the key."""
    return sha256(key).hexdigest()[:8]


def read_keyring(path: Path) -> Keyring:
    """Read a file of one or two lines, each a key of 64 hexadecimal digits or more.

    Raises `UserError` for a file that others can read, or that has no such lines; `OSError`.
    """
    keys = [_parse(line, number, path) for number, line in _lines(read_secret(path))]
    if not keys:
        raise UserError(f"{path} has no key; write one: {MAKE_ONE} > {path}")
    if len(keys) > _KEYS_LIMIT:
        raise UserError(
            f"{path} has {len(keys)} keys; keep two, the one that signs and the one before it"
        )
    ring = {key_id(key): key for key in keys}
    if len(ring) < len(keys):
        raise UserError(f"{path} has the same key twice; keep one, or make another: {MAKE_ONE}")
    return Keyring(ring)


def read_secret(path: Path) -> bytes:
    """Read a small file that only its owner and its group can read.

    Raises `UserError`, which does not show what is in the file; `OSError`.
    """
    # O_NONBLOCK: opening a FIFO would wait for a process that writes to it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:  # noqa: PTH123 (a descriptor)
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise UserError(f"{path} is not a regular file; write the path of one")
        if mode & _OTHERS:
            reason = f"each user of this machine can use it (mode {stat.S_IMODE(mode):04o})"
            raise UserError(
                f"{path}: {reason}; chmod 640 {path}, with the daemon's group; {_IN_A_CONTAINER}"
            )
        data = file.read(_SIZE_LIMIT + 1)
    if len(data) > _SIZE_LIMIT:
        raise UserError(
            f"{path} is larger than {_SIZE_LIMIT} bytes; write the path of another file"
        )
    return data


def _lines(data: bytes) -> list[tuple[int, bytes]]:
    """The lines that are not blank, with their numbers."""
    lines = enumerate((line.strip() for line in data.split(b"\n")), start=1)
    return [(number, line) for number, line in lines if line]


def _parse(line: bytes, number: int, path: Path) -> bytes:
    if not _KEY.fullmatch(line):
        reason = "is no key of 64 to 256 hexadecimal digits"
        raise UserError(f"{path}: line {number} {reason}; make one: {MAKE_ONE}")
    return bytes.fromhex(line.decode("ascii"))
