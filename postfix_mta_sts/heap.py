"""What the C library keeps of memory that is free again → back to the system.

Border: the one place that calls a C function by name. TLS handshakes that come to nothing leave
glibc's heap full of holes that no later one fits: 200 at a time took 29 MB, and 61 MB after 2,400
of them, of which all but 14 were free.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeAlias

Trim: TypeAlias = Callable[[int], int]


def _malloc_trim() -> Trim | None:
    """malloc_trim(3), which no other C library has.

    A sandbox that forbids memory to be made executable may keep ctypes from being imported.
    """
    with suppress(ImportError, OSError, MemoryError, AttributeError):
        import ctypes  # noqa: PLC0415 (see above)

        trim: Trim = ctypes.CDLL(None).malloc_trim
        return trim
    return None


_TRIM: Final = _malloc_trim()


def give_back() -> bool:
    """Let the system have what is free, which takes 1 to 8 ms; whether there was anything."""
    return _TRIM is not None and _TRIM(0) == 1
