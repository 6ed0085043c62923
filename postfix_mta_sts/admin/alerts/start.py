"""What the process of an alert does before it becomes the program: yield to the daemon.

The daemon starts Python, which is in memory, and this finds the program: a disk that hangs stops
only this process. A start by the event loop itself (uvloop) copies the page tables of the daemon,
which takes 22 ms at 600 MB; `subprocess` does not, and takes 0.3 ms.
"""

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

NICENESS: Final = 10
"""Added to the nice value, so that the daemon has priority (nice(2))."""
NOT_STARTED: Final = 127
"""The exit code if there is no program to become, as in a shell; standard error says why."""

_PROGRAM: Final = (
    "import sys; n = int(sys.argv[1]); sys.path[:] = sys.argv[2:n]; "
    "from postfix_mta_sts.admin.alerts.start import become; become(sys.argv[n:])"
)


def command(words: list[str]) -> list[str]:
    """Return the command that becomes `words`."""
    # The child uses the module path of this process, which depends on how that was started.
    flags = ["-I", *(["-S"] * sys.flags.no_site), "-P", "-c", _PROGRAM]
    return [sys.executable, *flags, str(len(sys.path) + 2), *sys.path, *words]


def become(words: list[str]) -> None:
    """Run a program in the place of this process; return only by `SystemExit`."""
    with suppress(OSError):  # a sandbox may forbid this
        os.nice(NICENESS)
    with suppress(OSError):  # if memory is short, the kernel kills this first
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")
    for each in signal.valid_signals():  # a program inherits that, and few expect it
        if signal.getsignal(each) is signal.SIG_IGN:
            signal.signal(each, signal.SIG_DFL)
    try:
        os.execvp(words[0], words)  # noqa: S606 (the administrator's command, without a shell)
    except OSError as error:
        sys.stderr.write(f"cannot be started: {error.strerror}\n")
    sys.exit(NOT_STARTED)
