"""The system calls of the sandbox, by ctypes: Python has none of them.

ctypes may be missing, or of no use where executable memory is forbidden: `is_usable` says so.
"""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any, Final

PR_SET_SECCOMP: Final = 22
PR_SET_NO_NEW_PRIVS: Final = 38
SECCOMP_MODE_FILTER: Final = 2


def is_usable() -> bool:
    """Whether this process can make these calls.

    It makes the first callback of ctypes, too: libffi looks for its own code in /proc and in its
    file then, where a sandbox would hide it. pyOpenSSL may need callbacks later (`smtp.tls`).
    """
    if sys.platform != "linux":
        return False  # the numbers mean something else there
    try:
        import ctypes  # noqa: PLC0415 (may be forbidden, and only a sandbox needs it)

        _libc()
    except (ImportError, OSError, MemoryError, AttributeError):
        return False
    with suppress(MemoryError, OSError):
        ctypes.CFUNCTYPE(ctypes.c_int)(int)
    return True


def system_call(number: int, *args: int | bytes | None) -> int:
    """Make a system call (syscall(2)); raises `OSError`."""
    return _checked(_libc().syscall, number, *args)


def forbid_new_privileges() -> None:
    """Let no program that this process runs gain rights: both kinds of rules need that.

    Raises `OSError`.
    """
    _checked(_libc().prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def set_filter(code: bytes) -> None:
    """Install a filter of system calls (seccomp(2)), 8 bytes an instruction; raises `OSError`."""
    import ctypes  # noqa: PLC0415 (see `is_usable`)

    class Program(ctypes.Structure):
        """The kernel's struct sock_fprog."""

        _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))

    program = Program(len(code) // 8, code)
    _checked(_libc().prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(program), 0, 0)


def _checked(function: Callable[..., Any], *args: int | bytes | None) -> int:
    import ctypes  # noqa: PLC0415 (see `is_usable`)

    # A variadic function gets whole registers: the upper half of an int would be left as it was.
    words = [ctypes.c_long(each) if isinstance(each, int) else each for each in args]
    result: int = function(*words)
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


@cache
def _libc() -> Any:  # noqa: ANN401 (functions of C have no types)
    import ctypes  # noqa: PLC0415 (see `is_usable`)

    library = ctypes.CDLL(None, use_errno=True)
    library.syscall.restype = ctypes.c_long
    return library
