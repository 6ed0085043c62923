"""Sums of all files of a release, signed with an SSH key.

A signature by an Ed25519 key contains neither time nor chance, so that it, too, is the same each
time. Any machine with OpenSSH can verify it: ssh-keygen(1), option -Y.
"""

import hashlib
from pathlib import Path
from typing import Final

from contrib.release import ReleaseError
from contrib.release.programs import need, output

SUMS: Final = "SHA256SUMS"
SIGNATURE: Final = f"{SUMS}.sig"
NAMESPACE: Final = "file"
"""What ssh-keygen(1) recommends for files."""


def write_sums(folder: Path) -> Path:
    """Write the sums of all files of a folder, as sha256sum(1) does, and return their file."""
    lines = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n"
        for file in sorted(folder.iterdir())
    ]
    sums = folder / SUMS
    sums.write_text("".join(lines), "utf-8")
    return sums


def check(key: Path) -> None:
    """Raise `ReleaseError` if the key cannot sign."""
    need("ssh-keygen", "a signature")
    if not key.is_file():
        raise ReleaseError(f"KEY: there is no file {key}")
    signed(b"", key)


def sign(sums: Path, key: Path) -> None:
    """Write the signature of the sums beside them."""
    sums.with_name(SIGNATURE).write_bytes(signed(sums.read_bytes(), key))


def signed(content: bytes, key: Path) -> bytes:
    """Return the signature by a key, or by the key in the agent whose public half is the file."""
    try:
        return output("ssh-keygen", "-Y", "sign", "-f", key, "-n", NAMESPACE, given=content)
    except ReleaseError as error:
        raise ReleaseError(f"KEY: {key} cannot sign: {error}") from error
