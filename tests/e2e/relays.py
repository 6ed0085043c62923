"""A stock Debian that is to become a mail relay, and what its administrator does on it.

Of what a new user has, `prepare` and `check_out` replace only the Internet: its name servers, its
CA, and the index of Python packages. `run` runs the commands of a page, `delivered` sends mail.
"""

import contextlib
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.docs.blocks import Block
from tests.e2e.machines import CONFIG, Machine, booted
from tests.e2e.namespace import Namespace
from tests.e2e.servers import DAEMON_DNS, POSTFIX_DNS
from tests.e2e.transcript import TIMEOUT
from tests.e2e.wheels import ROOT
from tests.e2e.world import World

SETTINGS: Final = {
    "dns": {"nameservers": [DAEMON_DNS], "timeout": "2s"},
    "https": {
        "ca_file": "/etc/ssl/certs/ca-certificates.crt",
        "allow_private_addresses": True,
    },
    "metrics": {"listen": "127.0.0.1:8463"},
}
"""The configuration of the daemon."""
INSTALL_TIMEOUT: Final = 300.0
"""Seconds; only a failing test waits that long."""
_LATE: Final = ("[daemon-hangs]", "[daemon-dns]", "\nNot seen:\n")
"""What `doctor` says if nothing answers within its four seconds."""
_TRIES: Final = 5
_CHECKOUT: Final = (
    "postfix_mta_sts",
    "contrib",
    "Makefile",
    "pyproject.toml",
    "constraints.txt",
    "README.md",
    "LICENSE",
)
_PIP: Final = "PIP_NO_INDEX=1 PIP_FIND_LINKS=/root/wheels PIP_NO_COMPILE=1"
"""Where pip finds packages, see pip(1); compiling them takes half of its time."""


def prepare(root: Path, world: World) -> None:
    """Give a stock Debian the Internet of the test, and the daemon's configuration."""
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    (root / "etc/resolv.conf").write_text(f"nameserver {POSTFIX_DNS}\n")
    with (root / "etc/ssl/certs/ca-certificates.crt").open("a") as bundle:
        bundle.write(world.ca_file.read_text())
    (root / CONFIG).write_text(json.dumps(SETTINGS))  # JSON is YAML


def check_out(root: Path, wheels: Path) -> None:
    """Put a checkout into /root, and what pip needs beside it."""
    shutil.copytree(wheels, root / "root/wheels")
    for name in _CHECKOUT:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, root / "root" / name)


def leave_port_25(root: Path) -> None:
    """Let Postfix listen on 127.0.0.1 only: the SMTP servers of the test have other addresses."""
    main_cf = root / "etc/postfix/main.cf"
    text, count = re.subn(
        r"(?m)^inet_interfaces.*", "inet_interfaces = 127.0.0.1", main_cf.read_text()
    )
    assert count == 1
    main_cf.write_text(text)


def mask(root: Path, *units: str) -> None:
    """Keep units from starting."""
    subprocess.run(["systemctl", f"--root={root}", "mask", *units], check=True)


def copied(tree: Path, place: Path) -> Path:
    """Create the folder of a machine, and a copy of a tree in it; return the copy."""
    place.mkdir()
    root = place / "root"
    subprocess.run(["cp", "--archive", tree, root], check=True)
    return root


@contextlib.contextmanager
def started(root: Path, inside: Namespace, name: str, logs: Path) -> Iterator[Machine]:
    """Boot a system; keep its journal at the end, and end it at once. Raises `NoTreeError`."""
    with booted(root, inside, root.parent, logs / f"{name}.log") as made:
        try:
            yield made
        finally:
            (logs / f"{name}-journal.log").write_text(mail_log(made))
            made.run("systemctl", "--force", "--force", "poweroff")  # an orderly end takes a minute


def run(machine: Machine, block: Block) -> str:
    """Run a block in the checkout, as root in a shell that ends at the first error.

    A block with `doctor` is run again if the machine was too busy to answer it in time.
    """
    script = f"cd /root && export {_PIP} && exec 2>&1\n{block.text}"
    done = machine.run("sh", "-ec", script, seconds=INSTALL_TIMEOUT)
    for _ in range(_TRIES - 1):
        if not any(words in done.stdout for words in _LATE):
            break
        done = machine.run("sh", "-ec", script, seconds=INSTALL_TIMEOUT)
    assert done.returncode == 0, f"{block.page}:{block.line}:\n{block.text}{done.stdout}"
    return done.stdout


def mail_log(machine: Machine) -> str:
    """Return what mail programs have logged."""
    machine.output("journalctl", "--sync")
    return machine.output("journalctl", "--output=cat", "--no-pager", "SYSLOG_FACILITY=2")


def delivered(machine: Machine, recipient: str, status: str) -> str:
    """Send a message; wait for a status of it in Postfix's log; return the log from its start."""
    before = len(mail_log(machine))
    machine.output("sh", "-c", f"echo Hello | sendmail -f root@relay.test {recipient}")
    return logged(machine, before, rf" to=<{re.escape(recipient)}>,.* status={status} ")


def logged(machine: Machine, before: int, pattern: str, *, is_flushed: bool = False) -> str:
    """Wait for a line of the mail log, after its first `before` characters; return these lines.

    A queue manager that ends at a reload takes the wish to flush the queue with it: `is_flushed`
    says it again.
    """
    deadline = time.monotonic() + TIMEOUT
    while not re.search(pattern, log := mail_log(machine)[before:]):
        assert time.monotonic() < deadline, f"no line matches {pattern}:\n{log}"
        if is_flushed:
            machine.output("postqueue", "-f")
        time.sleep(0.1)
    return log
