"""A wrong wall clock for a daemon and its network process: a library that is preloaded."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).with_name("clock.c")


def wrong_clock(folder: Path, offset: int) -> Mapping[str, str]:
    """The environment of a program whose clock is `offset` seconds ahead; needs a C compiler."""
    library = folder / "clock.so"
    if not library.exists():
        words = ("cc", "-std=c17", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC")
        subprocess.run([*words, str(SOURCE), "-o", str(library)], check=True)
    return {"LD_PRELOAD": str(library), "CLOCK_OFFSET": str(offset)}
