"""What root may do is given up, in a process of its own, because there is no way back."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from postfix_mta_sts.network.sandbox import capabilities, kernel
from postfix_mta_sts.network.sandbox.calls import this_machine
from tests.support.capabilities import held_capabilities
from tests.support.daemons import TIMEOUT
from tests.support.obstacles import cannot

CAP_CHOWN: Final = 1
PROGRAM: Final = """
import sys
from pathlib import Path
from threading import Thread
from postfix_mta_sts.network.sandbox import capabilities
capabilities.drop()
thread = Thread(target=lambda: print(Path("/proc/thread-self/status").read_text()))
thread.start()
thread.join()
print("content:", Path(sys.argv[1]).read_text())
"""


def after_drop(file: Path) -> str:
    """The status of a thread after `drop`, and the content of a file that is read then."""
    if not kernel.is_usable() or this_machine() is None:
        cannot("the system calls of this machine are not known here")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(file)],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=True,
    )
    return done.stdout


def test_only_reading_is_left(tmp_path: Path) -> None:
    """All sets are empty but for the right to read, if there was one."""
    (tmp_path / "file").write_text("own")
    status = after_drop(tmp_path / "file")
    left = held_capabilities("CapPrm") & capabilities.DAC_READ_SEARCH
    assert held_capabilities("CapEff", status) == left
    assert held_capabilities("CapPrm", status) == left
    assert held_capabilities("CapInh", status) == 0
    assert held_capabilities("CapAmb", status) == 0


def test_files_of_others(tmp_path: Path) -> None:
    """Root still reads what only another user may read: the program may be in a home."""
    needed = CAP_CHOWN | capabilities.DAC_READ_SEARCH
    if held_capabilities("CapEff") & needed != needed:
        pytest.skip("only for root")
    file = tmp_path / "file"
    file.write_text("of another")
    file.chmod(0o600)
    os.chown(file, 65534, 65534)
    assert "content: of another" in after_drop(file)


def test_unknown_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the number of the call it says so."""
    monkeypatch.setattr(capabilities, "_held", lambda: None)
    monkeypatch.setattr(capabilities, "this_machine", lambda: None)
    with pytest.raises(OSError, match="no number of capset is known for"):
        capabilities.drop()


def test_none_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """A unit that forbids the call has no gap, if there is nothing to give up."""
    monkeypatch.setattr(capabilities, "_held", lambda: 0)
    monkeypatch.setattr(kernel, "system_call", lambda *_: pytest.fail("a call"))
    capabilities.drop()
