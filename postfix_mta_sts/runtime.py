"""How Python is set for a process of the daemon: its collector of cycles, and its threads."""

import gc
import sys
from typing import Final

GC_THRESHOLDS: Final = (5_000, 10, 5)
"""With Python's own, (700, 10, 10), it took 6 % of a look-up of a new domain. With (20,000, 50,
1,000) a soak grew by 700 KiB a minute: look-ups that hang are old when they become garbage."""
TURN: Final = 0.0002
"""Seconds after which a thread of the store that computes gives way (`sys.setswitchinterval`)."""


def set_up() -> None:
    """To be called when everything is imported: that stays, and need not be looked at again."""
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    sys.setswitchinterval(TURN)
