"""What a ruleset of Landlock handles, by the version of the kernel's interface."""

import errno
import struct

import pytest

from postfix_mta_sts.network.sandbox import kernel, landlock


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (1, (0x1FFF,)),
        (2, (0x3FFF,)),
        (3, (0x7FFF,)),
        (4, (0x7FFF, 0b11)),
        (5, (0xFFFF, 0b11)),
        (6, (0xFFFF, 0b11, 0b11)),
    ],
)
def test_handled(version: int, words: tuple[int, ...]) -> None:
    """Each version has the rights of <linux/landlock.h> and no others: those are an error."""
    assert landlock.handled(version, connects=True) == struct.pack(f"={len(words)}Q", *words)


def test_any_port() -> None:
    """Where ports are not known beforehand, listening is forbidden all the same."""
    assert landlock.handled(4, connects=False) == struct.pack("=QQ", 0x7FFF, 0b01)


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSYS, "the kernel has no Landlock"),
        (errno.EOPNOTSUPP, "Landlock is switched off at boot"),
        (errno.EPERM, "a filter of system calls forbids Landlock"),
        (errno.EIO, "Landlock: Input/output error"),
    ],
)
def test_none(monkeypatch: pytest.MonkeyPatch, number: int, reason: str) -> None:
    """The reason is one that an administrator can act on."""

    def refuse(*_: object) -> int:
        raise OSError(number, "Input/output error")

    monkeypatch.setattr(kernel, "system_call", refuse)
    with pytest.raises(landlock.NoLandlockError) as caught:
        landlock.abi()
    assert str(caught.value) == reason


def test_a_later_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rights that are not known here are not used."""
    monkeypatch.setattr(kernel, "system_call", lambda *_: 99)
    assert landlock.abi() == landlock.KNOWN_ABI
