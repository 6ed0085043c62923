"""Run a piece of this program as another user than root, also if root runs the tests.

    as_plain_user("from pathlib import Path", "print(Path(sys.argv[1]).read_text())", "/etc/shadow")

It is a process of its own, which has imported all that it needs before it gives up root: another
user may not be able to read where Python is installed.
"""

import os
import subprocess
import sys
from typing import Final

NOBODY: Final = 65_534
_BECOME: Final = f"""
import grp, os, pwd, sys
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid({NOBODY})
    os.setuid({NOBODY})
"""


def as_plain_user(imports: str, code: str, *arguments: object) -> str:
    """Return what the code prints; its imports come first. `sys.argv` has the arguments."""
    done = subprocess.run(
        [sys.executable, "-B", "-c", f"{imports}\n{_BECOME}\n{code}", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout
