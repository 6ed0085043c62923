"""A Debian system that runs under its own systemd.

It is a copy of a release's tree, with systemd and Python from Debian's packages, and the daemon
and its units installed as in docs/systemd.md. systemd-nspawn(1) boots it in the network namespace
of the test. The systemd of the machine itself is not used, and need not exist.
"""

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.e2e.namespace import Namespace
from tests.e2e.transcript import TIMEOUT
from tests.e2e.trees import NoTreeError, extended

UNIT: Final = "postfix-mta-sts.service"
CONFIG: Final = "etc/postfix-mta-sts.yml"
_PACKAGES: Final = ("systemd", "python3", "python3-venv", "curl", "make")
_UNITS: Final = Path(__file__).parents[2] / "contrib/systemd"
MASKED: Final = ("postfix", "nsd", "unbound", "apt-daily.timer", "apt-daily-upgrade.timer")
"""Other services of a tree, which must not start: the test runs its own in the same network."""

# nspawn uses the version of control groups that it finds, and today's systemd supports only the
# second. The mount namespace keeps this change away from the machine.
_CGROUPS: Final = """\
[ "$(stat --file-system --format %T /sys/fs/cgroup)" = cgroup2fs ] ||
    { umount --recursive /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; } || exit
"""
# nspawn of systemd 252 forbids Landlock, which the daemon uses where the kernel has it.
# nspawn divides the group that it runs in. Two systems in one group would end each other's units.
_BOOT: Final = """\
group=/sys/fs/cgroup/$1
mkdir "$group" && echo $$ > "$group/cgroup.procs" || exit
exec systemd-nspawn --quiet --register=no --keep-unit --notify-ready=yes --console=pipe \\
    --system-call-filter="landlock_create_ruleset landlock_add_rule landlock_restrict_self" \\
    --directory="$2" --network-namespace-path="$3" --resolv-conf=off --timezone=off --boot
"""
_CLEAN_UP: Final = 'find "/sys/fs/cgroup/$1" -depth -type d -exec rmdir {} +'


def with_systemd(tree: Path) -> Path:
    """Return a release's tree with systemd and Python; copy it. Raises `NoTreeError`."""
    return extended(tree, "systemd", _PACKAGES)


def alone(root: Path) -> None:
    """Mask the services of a tree that the test does not need."""
    _run("systemctl", f"--root={root}", "mask", *MASKED)


def _run(*words: str) -> None:
    try:
        subprocess.run(words, check=True, capture_output=True, text=True)
    except OSError as error:
        raise NoTreeError(f"{words[0]}: {error}") from error
    except subprocess.CalledProcessError as error:
        tail = "\n".join((error.stdout + error.stderr).splitlines()[-20:])
        raise NoTreeError(f"{' '.join(words)}: {tail}") from error


def install(root: Path, wheels: Path, package: str = "postfix-mta-sts") -> None:
    """Install the daemon in a tree as in docs/systemd.md, and enable its units.

    `package` is for pip(1), and may have an extra.
    """
    inside = root / "root/wheels"
    shutil.copytree(wheels, inside)
    venv = "/opt/postfix-mta-sts"
    _run("chroot", str(root), "python3", "-m", "venv", venv)
    index = ("--no-index", "--find-links", "/root/wheels")
    _run("chroot", str(root), f"{venv}/bin/pip", "install", *index, package)
    shutil.rmtree(inside)
    (root / "usr/local/bin/postfix-mta-sts").symlink_to(f"{venv}/bin/postfix-mta-sts")
    for unit in (*_UNITS.glob("*.service"), *_UNITS.glob("*.socket")):
        shutil.copy(unit, root / "etc/systemd/system")
    (root / "etc/sysusers.d").mkdir(exist_ok=True)
    shutil.copy(_UNITS / "sysusers.d/postfix-mta-sts.conf", root / "etc/sysusers.d")
    alone(root)
    sockets = ("postfix-mta-sts.socket", "postfix-mta-sts-chroot.socket")
    _run("systemctl", f"--root={root}", "enable", UNIT, *sockets)


class Machine:
    """A running system; made by `booted`."""

    def __init__(self, root: Path, leader: int) -> None:
        self.root: Final = root
        self._leader = leader

    def run(
        self, *words: str, user: str = "", seconds: float = TIMEOUT
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the system, as root or as `user`, for `seconds` at most."""
        command = ["nsenter", f"--target={self._leader}", "--mount", "--uts", "--ipc", "--net"]
        command += ["--pid", "--cgroup", "--root", "--wdns=/"]
        if user:
            words = ("runuser", "-u", user, "--", *words)
        return subprocess.run(
            [*command, *words], check=False, capture_output=True, text=True, timeout=seconds
        )

    def output(self, *words: str) -> str:
        """Return the output of a command that must succeed."""
        done = self.run(*words)
        assert done.returncode == 0, done.stderr + self.journal()
        return done.stdout.strip()

    def unit(self, name: str, unit: str = UNIT) -> str:
        """Return a property of a unit (systemctl(1), show)."""
        return self.output("systemctl", "show", "--value", "--property", name, unit)

    def journal(self, unit: str = UNIT) -> str:
        """Return everything that a unit has logged."""
        self.output("journalctl", "--sync")  # otherwise the last lines may be missing
        return self.run("journalctl", "--unit", unit, "--output=cat", "--no-pager").stdout


@contextlib.contextmanager
def booted(root: Path, inside: Namespace, folder: Path, log: Path) -> Iterator[Machine]:
    """Boot the system in a tree, and wait until its units run. Raises `NoTreeError`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, log.open("w") as said:
        notify.bind(str(folder / "boot"))
        group = f"{inside.name}-{folder.name}"
        process = subprocess.Popen(
            [*_with_cgroups(_BOOT), group, root, f"/run/netns/{inside.name}"],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env={"NOTIFY_SOCKET": str(folder / "boot"), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )
        leader = 0
        try:
            leader = _started(process, notify)
            if not leader:
                raise NoTreeError(f"systemd-nspawn starts nothing here: {log.read_text()[-2000:]}")
            machine = Machine(root, leader)
            assert _ready(process, notify), f"the system is not up; {machine.journal()[-4000:]}"
            notify.close()  # nspawn continues to send, and would block if nothing reads
            yield machine
        finally:
            process.terminate()
            try:
                process.wait(TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                if leader:  # it survives nspawn; all its children end with it
                    os.kill(leader, signal.SIGKILL)
            subprocess.run([*_with_cgroups(_CLEAN_UP), group], check=False, capture_output=True)


def _with_cgroups(script: str) -> list[str | Path]:
    return ["unshare", "--mount", "sh", "-c", _CGROUPS + script, "boot"]


def _started(process: subprocess.Popen[bytes], notify: socket.socket) -> int:
    """Return the first process of the system; 0 if there is none."""
    key = "X_NSPAWN_LEADER_PID="
    found = next(
        (line for line in _notifications(process, notify) if line.startswith(key)), key + "0"
    )
    return int(found.removeprefix(key))


def _ready(process: subprocess.Popen[bytes], notify: socket.socket) -> bool:
    """Return whether the system has started all its units."""
    return "READY=1" in _notifications(process, notify)


def _notifications(process: subprocess.Popen[bytes], notify: socket.socket) -> Iterator[str]:
    """Yield the notifications of nspawn (sd_notify(3)) until it ends, `TIMEOUT` seconds at most."""
    deadline = time.monotonic() + TIMEOUT
    with os.fdopen(os.pidfd_open(process.pid), "rb", buffering=0) as end:
        fds = [notify.fileno(), end.fileno()]
        while (left := deadline - time.monotonic()) > 0:
            if select.select(fds, [], [], left)[0] != fds[:1]:
                return
            yield from notify.recv(4096).decode().splitlines()
