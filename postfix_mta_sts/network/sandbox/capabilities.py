"""Capabilities: what root may do on a machine, and others may not (capabilities(7)).

With them a network process of root could change routes and addresses, by messages (netlink(7)) and
structures (netdevice(7)) that no filter of system calls can look into.
"""

import errno
import os
import struct
from pathlib import Path
from typing import Final

from postfix_mta_sts.network.sandbox import kernel
from postfix_mta_sts.network.sandbox.calls import this_machine

DAC_READ_SEARCH: Final = 1 << 2
"""Read files of others. Root has it without asking: its program or `https.ca_file` may be such a
file. Landlock limits which files are read."""
_VERSION: Final = 0x20080522
"""_LINUX_CAPABILITY_VERSION_3 of <linux/capability.h>: two words for each set."""


def drop() -> None:
    """Give all up but `DAC_READ_SEARCH`, for this thread and those that it starts from now on.

    A process that has none, as one of a plain user, makes no call: its unit may forbid it. Raises
    `OSError`.
    """
    held = _held()
    if held == 0:
        return
    machine = this_machine()
    if machine is None:
        raise OSError(errno.ENOSYS, f"no number of capset is known for {os.uname().machine}")
    kept = (held or 0) & DAC_READ_SEARCH
    header = struct.pack("=Ii", _VERSION, 0)
    # Effective, permitted and inheritable ones: first the lower 32 of each (capset(2)).
    sets = struct.pack("=6I", kept, kept, 0, 0, 0, 0)
    kernel.system_call(machine.numbers["capset"], header, sets)


def _held() -> int | None:
    """The permitted ones; None: this process cannot know."""
    try:
        lines = Path("/proc/self/status").read_bytes().splitlines()
    except OSError:
        return None
    found = [each.split()[1] for each in lines if each.startswith(b"CapPrm:")]
    return int(found[0], 16) if found else None
