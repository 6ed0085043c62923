"""A machine for the tests of `doctor`: everything is right on it, until a test breaks it.

It is a booted Debian (`machines.py`) with the daemon, and with Postfix set up as in README.md. Of
what an administrator has, the test replaces only the Internet: its name servers and its CA. The
tests break the machine by shell commands, ask `doctor`, run what it says, and send a message.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.e2e.machines import CONFIG, UNIT, Machine, booted, install, with_systemd
from tests.e2e.namespace import Namespace
from tests.e2e.servers import POSTFIX_DNS
from tests.e2e.transcript import TIMEOUT
from tests.e2e.trees import Release
from tests.e2e.world import World

MAP_NAMES: Final = {"3.7": "postfix", "3.10": "QUERYwithTLSRPT"}
"""The last word of the policy map, for each version of Postfix (README.md)."""
SETTINGS: Final = """\
listen:
  - socketmap: 127.0.0.1:8461
dns:
  timeout: 2s
dane:
  mode: auto
https:
  allow_private_addresses: true
"""
RELOAD: Final = f"systemctl reload {UNIT.removesuffix('.service')}"
_SOCKET: Final = "postfix-mta-sts.socket"
_CHROOT_SOCKET: Final = "postfix-mta-sts-chroot.socket"
_SET_UP: Final = """\
postconf -e smtp_tls_security_level=may
postconf -e smtp_tls_CAfile=/etc/ssl/certs/ca-certificates.crt
postconf -e smtp_tls_loglevel=1
postconf -e smtp_tls_policy_maps=$MAP
postfix reload
"""
_KEPT: Final = (
    "/etc/postfix",
    f"/{CONFIG}",
    "/etc/resolv.conf",
    "/etc/systemd/system",
    "/var/spool/postfix/etc",
)
"""What cases change, and what is put back after each."""
_KEEP: Final = f"""\
for path in {" ".join(_KEPT)}; do
    mkdir -p "/root/kept$(dirname $path)"
    cp -a $path /root/kept$path
done
"""
_PUT_BACK: Final = f"""\
new() {{ ! diff -r /root/kept$1 $1 > /dev/null; }}
daemon=; units=
if new /{CONFIG}; then daemon=new; fi
if new /etc/systemd/system; then daemon=new; units=new; fi
for path in {" ".join(_KEPT)}; do
    rm -rf $path
    cp -a /root/kept$path $path
done
if [ $units ]; then systemctl daemon-reload; fi
# systemd opens no socket for a service that is running.
for unit in $UNITS; do
    if ! systemctl is-active --quiet $unit; then daemon=new; fi
done
if [ $daemon ]; then systemctl stop $UNITS; systemctl start $UNITS; fi
postsuper -d ALL
postfix reload
"""
LONGEST: Final = 5.0
"""Seconds that `doctor` may take."""
_TRIES: Final = 5
_PERHAPS_LATE: Final = {"daemon-hangs", "daemon-dns"}
"""What `doctor` also finds if the machine is so busy that nothing answers in time."""
_CONTROL: Final = ("curl", "-sS", "--unix-socket", "/run/postfix-mta-sts/control.sock")


@dataclass(frozen=True, slots=True)
class Examined:
    """What a run of `doctor --json` said."""

    code: int
    report: dict[str, Any]

    @property
    def findings(self) -> list[dict[str, Any]]:
        """What is wrong, the most urgent first."""
        found: list[dict[str, Any]] = self.report["findings"]
        return found

    @property
    def ids(self) -> frozenset[str]:
        """The ids of the findings."""
        return frozenset(each["id"] for each in self.findings)

    @property
    def unseen(self) -> set[str]:
        """What could not be seen."""
        return {each["what"] for each in self.report["unseen"]}

    @property
    def is_late(self) -> bool:
        """Whether something was not seen in time, as happens on a busy machine."""
        return any("not finished within" in each["reason"] for each in self.report["unseen"])


class Stage:
    """A machine with the servers around it; made by `stage`."""

    def __init__(self, machine: Machine, world: World, release: Release, figures: Path) -> None:
        self.machine: Final = machine
        self.world: Final = world
        self.version: Final = release.postfix
        self._figures = figures

    def shell(self, script: str) -> str:
        """Run a script as root, in a shell that ends at the first error; return its output.

        `$MAP` is the right policy map of this Postfix, `$NAME` its last word, `$OTHER` the last
        word for the other version; `$UNITS` are those of the daemon.
        """
        name = MAP_NAMES[self.version]
        (other,) = set(MAP_NAMES.values()) - {name}
        variables = (
            f"NAME={name}",
            f"OTHER={other}",
            f"MAP=socketmap:inet:127.0.0.1:8461:{name}",
            f"UNITS={_SOCKET} {UNIT}",
        )
        done = self.machine.run("env", *variables, "sh", "-ec", f"exec 2>&1\n{script}")
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout

    def doctor(self, *arguments: str, user: str = "", alone: str = "") -> Examined:
        """Run `doctor --json`, and again if the machine was perhaps too busy to answer it in time.

        `alone` are commands that run before it in a mount namespace of their own. How long it takes
        is written to the log of this run of the tests.
        """
        found = self._examine(arguments, user, alone)
        for _ in range(_TRIES - 1):
            if not found.is_late and not found.ids & _PERHAPS_LATE:
                break
            found = self._examine(arguments, user, alone)
        assert not found.is_late, "this machine is too busy for a test"
        return found

    def _examine(self, arguments: Sequence[str], user: str, alone: str) -> Examined:
        script = f'{alone}\nexec postfix-mta-sts doctor --json "$@"'
        namespace = ("unshare", "--mount") if alone else ()
        start = time.monotonic()
        done = self.machine.run(*namespace, "sh", "-ec", script, "sh", *arguments, user=user)
        seconds = time.monotonic() - start
        assert done.stdout, done.stderr
        found = Examined(done.returncode, json.loads(done.stdout))
        with self._figures.open("a") as file:
            file.write(f"{seconds:.2f} {', '.join(sorted(found.ids))}\n")
        assert found.is_late or seconds <= LONGEST * _slowness(), found.report
        return found

    def mend(self, command: str) -> None:
        """Run a command that `doctor` printed; it must succeed.

        The unit's reload is a signal, so wait until the daemon has obeyed it.
        """
        before = self._configured_at() if RELOAD in command else 0.0
        self.shell(command)
        if RELOAD in command:
            eventually(lambda: self._configured_at() > before)

    def deliver(self, sendmail: str = "sendmail") -> str:
        """Send a message to a fresh domain with a policy, which must arrive; return the log."""
        domain = self.world.fresh("doctor")
        self.world.mail_host(domain, "good")
        self.world.policy(domain, "enforce")
        self.machine.output("sh", "-c", f"echo Hello | {sendmail} -f root@relay.test user@{domain}")
        eventually(lambda: re.search(r" to=<.* status=", self._mail_log(domain)))
        log = self._mail_log(domain)
        assert " status=sent " in log, log
        verified = f"Verified TLS connection established to mx.{domain}[127.0.0.11]:25"
        assert verified in log, log
        return log

    @contextlib.contextmanager
    def put_back(self, undo: str = "") -> Iterator[None]:
        """Put everything back at the end, by the commands `undo` first."""
        try:
            yield
        finally:
            self.shell(f"{undo}\n{_PUT_BACK}")

    def _configured_at(self) -> float:
        """When the daemon has read its configuration, in epoch seconds."""
        status = json.loads(self.machine.output(*_CONTROL, "http://localhost/status"))
        return float(status["configured_at"])

    def _mail_log(self, domain: str) -> str:
        """What Postfix has logged about a domain of late."""
        self.machine.output("journalctl", "--sync")
        words = ("journalctl", "--output=cat", "--no-pager", "--lines=100", "SYSLOG_FACILITY=2")
        return "\n".join(
            line for line in self.machine.output(*words).splitlines() if domain in line
        )


def eventually(holds: Callable[[], object]) -> None:
    """Wait until this is true."""
    deadline = time.monotonic() + TIMEOUT
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _slowness() -> float:
    """How many times longer things take because of other programs on this machine."""
    return max(1.0, os.getloadavg()[0] / len(os.sched_getaffinity(0)))


@contextlib.contextmanager
def stage(
    release: Release,
    trees: Mapping[str, Path],
    stock: Callable[[str], Path],
    around: tuple[Namespace, World],
    place: Path,
    logs: Path,
) -> Iterator[Stage]:
    """Boot a machine in a copy of a release's tree, and set it up. Raises `NoTreeError`.

    `stock` gives the wheels for a release, `around` is the network; `place` is a new folder.
    """
    (inside, world), root = around, place / "root"
    place.mkdir()
    subprocess.run(["cp", "--archive", with_systemd(trees[release.postfix]), root], check=True)
    install(root, stock(release.suite), "postfix-mta-sts[valkey]")
    _prepare(root, world)
    name = f"doctor-{release.postfix}"
    with booted(root, inside, place, logs / f"{name}-boot.log") as machine:
        made = Stage(machine, world, release, logs / f"{name}-seconds.log")
        made.shell(_SET_UP + _KEEP)
        yield made
        (logs / f"{name}-journal.log").write_text(machine.run("journalctl", "--no-pager").stdout)
        machine.run("systemctl", "--force", "--force", "poweroff")  # an orderly end takes a minute


def _prepare(root: Path, world: World) -> None:
    """Give the machine the Internet of the test, and its own Postfix."""
    # The name servers validate; the domains of the test are not signed.
    world.records({". SOA": ["a.test. b.test. 1 3600 600 86400 60"]})
    world.sign(["."], unsigned=["test"])
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    (root / "etc/resolv.conf").write_text(f"nameserver {POSTFIX_DNS}\n")
    shutil.copy(world.ca_file, root / "usr/local/share/ca-certificates/test.crt")
    subprocess.run(["chroot", root, "update-ca-certificates"], check=True, capture_output=True)
    (root / CONFIG).write_text(SETTINGS)
    # The SMTP servers of the test have port 25 of other addresses.
    main_cf = root / "etc/postfix/main.cf"
    lines = re.sub(r"(?m)^inet_interfaces.*\n", "", main_cf.read_text())
    main_cf.write_text(f"{lines}inet_interfaces = 127.0.0.1\n")
    systemctl = ("systemctl", f"--root={root}")  # `install` has others run Postfix
    subprocess.run([*systemctl, "unmask", "postfix"], check=True, capture_output=True)
    subprocess.run([*systemctl, "disable", _CHROOT_SOCKET], check=True, capture_output=True)
