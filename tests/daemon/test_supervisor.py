"""What workers tell their parent; how they are begun, replaced and ended is in test_shared."""

import subprocess
import sys

from tests.support.daemons import PATIENCE

TELLING = """
import os, signal, sys
from postfix_mta_sts.daemon.supervisor import Workers

def work(worker):
    worker.tell_ready()
    for n in range(3):
        worker.tell(f"{worker.index}: line {n}")
    worker.tell("\u00e4" * 1000)
    signal.pause()

heard = []

def on_told(line):
    heard.append(line)
    if len(heard) == 8:
        os.kill(os.getpid(), signal.SIGTERM)

Workers(2, work, on_ready=lambda: print("ready"), on_stop=lambda: None, on_told=on_told).run()
print(*(f"{line[:9]} {len(line)}" for line in sorted(heard)), sep="\\n")
"""


def test_lines_come_whole() -> None:
    """The parent hears each worker's lines, cut at 500 bytes, beside the one word that is its."""
    words = [sys.executable, "-c", TELLING]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=PATIENCE)
    ready, *heard = done.stdout.splitlines()
    assert ready == "ready"
    assert heard[:6] == [f"{worker}: line {n} 9" for worker in range(2) for n in range(3)]
    assert heard[6:] == [f"{9 * chr(228)} 250"] * 2
