"""The file of keys: what is read, and what is refused without a word of the key."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.errors import UserError
from postfix_mta_sts.store.fleet.keys import Keyring, key_id, read_keyring, read_secret

ONE, TWO = "ab" * 32, "cd" * 40


def write(path: Path, text: str | bytes, mode: int = 0o600) -> Path:
    """Write a file with these permissions."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640, 0o660])
@pytest.mark.parametrize("text", [ONE, f"{ONE}\n", f"\n {ONE.upper()} \r\n\n"])
def test_one_key(tmp_path: Path, text: str, mode: int) -> None:
    """A key in hexadecimal is read, whatever its case and the line ends around it."""
    ring = read_keyring(write(tmp_path / "key", text, mode))
    assert ring.keys == {key_id(bytes.fromhex(ONE)): bytes.fromhex(ONE)}


def test_the_first_key_signs(tmp_path: Path) -> None:
    """Of two keys the first is the one that signs, and both are known by their ids."""
    ring = read_keyring(write(tmp_path / "key", f"{TWO}\n{ONE}\n"))
    assert ring.signing == (key_id(bytes.fromhex(TWO)), bytes.fromhex(TWO))
    assert list(ring.keys.values()) == [bytes.fromhex(TWO), bytes.fromhex(ONE)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "has no key; write one: openssl rand -hex 32"),
        (" \n\r\n", "has no key"),
        (ONE[:-2], "line 1 is no key of 64 to 256 hexadecimal digits"),
        (ONE + "a", "line 1 is no key"),
        ("ab" * 129, "line 1 is no key"),
        (f"{ONE}\nxy{TWO}", "line 2 is no key"),
        (f"{ONE}\n{TWO}\n{'ef' * 32}", "has 3 keys; keep two"),
        (f"{ONE}\n{ONE.upper()}\n", "has the same key twice"),
        ("ab " * 32, "line 1 is no key"),
        (f"# key\n{ONE}", "line 1 is no key"),
        ("ab" * 4096, "is larger than 4096 bytes"),
        (b"\xff\xfe" + ONE.encode("utf-16-le"), "line 1 is no key"),
    ],
)
def test_refused(tmp_path: Path, text: str | bytes, reason: str) -> None:
    """A file that has no one or two keys is refused with what to do, and without its content."""
    path = write(tmp_path / "key", text)
    with pytest.raises(UserError, match=reason) as caught:
        read_keyring(path)
    said = str(caught.value).removeprefix(str(path))  # it has the name of the test, and so the key
    assert said != str(caught.value)
    assert not any(part in said for part in ("abab", "cdcd"))


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o777])
def test_a_key_that_others_can_use(tmp_path: Path, mode: int) -> None:
    """A file that each user can read or write is refused."""
    with pytest.raises(UserError, match=r"each user of this machine can use it .* chmod 640"):
        read_keyring(write(tmp_path / "key", ONE, mode))


@pytest.mark.parametrize("kind", ["folder", "pipe", "none"])
def test_no_file(tmp_path: Path, kind: str) -> None:
    """What is no regular file is refused at once: a pipe would be waited for."""
    path = tmp_path / "key"
    if kind == "folder":
        path.mkdir(mode=0o700)
    elif kind == "pipe":
        os.mkfifo(path, 0o600)
    with pytest.raises((UserError, OSError)):
        read_secret(path)


@given(st.binary(min_size=32, max_size=128))
def test_no_representation_has_the_key(key: bytes) -> None:
    """What a keyring looks like in a log or a traceback is its ids."""
    text = repr(Keyring({key_id(key): key}))
    assert text == f"Keyring({key_id(key)})"
