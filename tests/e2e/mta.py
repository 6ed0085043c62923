"""Runs one real Postfix: set its policy map, submit mail, and read what happened to it.

It runs in a copy of a release's tree, with that release's master.cf: as on Debian, smtp(8) is
chrooted to the queue directory. Its log is the output of `postfix start-fg` (maillog_file).
"""

import contextlib
import itertools
import json
import os
import re
import select
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from tests.e2e.namespace import Namespace
from tests.e2e.sinks import Receipt
from tests.e2e.transcript import TIMEOUT, Transcript
from tests.e2e.world import World
from tests.support.scripts import script

QUEUE: Final = "var/spool/postfix"
"""The queue directory, relative to the root of the tree."""
PUBLIC: Final = "run/mta-sts"
"""The folder for a policy server's sockets, relative to the queue directory."""

_MAIN_CF: Final = """\
compatibility_level = 3.6
queue_directory = /var/spool/postfix
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
data_directory = /var/lib/postfix
maillog_file = /dev/stdout
myhostname = relay.test
mydestination =
alias_maps =
inet_interfaces = loopback-only
inet_protocols = ipv4
smtp_tls_security_level = may
smtp_tls_CAfile = /etc/postfix/ca.pem
smtp_tls_loglevel = 1
# A resumed TLS session keeps its old verdict, whatever the policy says by now.
smtp_tls_session_cache_database =
# One look-up a message.
smtp_connection_cache_on_demand = no
# What one test leaves in the queue is not tried again during another.
queue_run_delay = 1h
minimal_backoff_time = 1h
"""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What happened to one message for one recipient, from the mail log and the queue."""

    recipient: str
    status: str
    """`sent`, `deferred` or `bounced`."""
    dsn: str
    why: str
    """The text in brackets after the status."""
    log: tuple[str, ...]
    """The log from the submission to the status."""
    delay_reason: str | None
    """The reason in the queue; None: the message is no longer in the queue."""
    receipts: tuple[Receipt, ...]
    """The messages that the sinks received."""

    def logged(self, text: str) -> bool:
        """Return whether a line of the log contains this text."""
        return any(text in line for line in self.log)

    def tls(self, host: str) -> str | None:
        """Return the level of the TLS session with a host: `Verified`, `Trusted`, `Untrusted`..."""
        pattern = rf"(\w+) TLS connection established to {re.escape(host)}\["
        return next((m[1] for line in self.log if (m := re.search(pattern, line))), None)


class Mta:
    """A Postfix in a tree; made by `mta`."""

    def __init__(self, inside: Namespace, root: Path, version: str, world: World) -> None:
        self._inside = inside
        self._world = world
        self._numbers = itertools.count(1)
        self.root: Final = root
        self.version: Final = version
        self.log: Transcript

    @property
    def sockets(self) -> Path:
        """A folder for UNIX sockets, which is `run/mta-sts` for the chrooted smtp(8)."""
        return self.root / QUEUE / PUBLIC

    def use(self, policy_maps: str) -> None:
        """Set `smtp_tls_policy_maps`, as an administrator does."""
        self.set(f"smtp_tls_policy_maps = {policy_maps}")

    def set(self, *settings: str) -> None:
        """Change main.cf and reload, which also resumes suspended destinations."""
        mark = self.log.mark
        self.run("postconf", "-e", *settings)
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(client) for client in self._clients()]
            self.run("postfix", "reload")
            self.log.wait(r"postfix/master.*reload -- version", mark)
            # Until it has ended, one that lives by the old main.cf may still be handed mail.
            for client in clients:
                assert select.select([client], [], [], TIMEOUT)[0]

    def resolve(self, resolver: str, options: str = "") -> None:
        """Have every program that starts from now on ask the name server at `resolver`.

        `options` are those of resolv.conf(5).
        """
        # Without `options trust-ad` (resolv.conf(5)): Postfix itself has libc show it the AD bit.
        for etc in (self.root / "etc", self.root / QUEUE / "etc"):
            (etc / "resolv.conf").write_text(f"nameserver {resolver}\noptions {options}\n")

    def _clients(self) -> Iterator[IO[bytes]]:
        """The smtp(8) that run, each a file that is readable once it has ended.

        Not from `/proc/PID/task/TID/children`, which leaves one out when another ends meanwhile
        (proc_tid_children(5)).
        """
        master = (self.root / QUEUE / "pid/master.pid").read_text().strip()
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                pid, name, _, parent, *_ = stat.read_text().split()
                if (name, parent) == ("(smtp)", master):
                    yield os.fdopen(os.pidfd_open(int(pid)), "rb", buffering=0)

    def submit(self, domain: str) -> str:
        """Submit a message for a new recipient at a domain; return the recipient."""
        recipient = f"user{next(self._numbers)}-{self.version}@{domain}"
        text = f"From: sender@relay.test\nTo: {recipient}\nSubject: test\n\nHello.\n"
        self.run("sendmail", "-f", "sender@relay.test", recipient, text=text)
        return recipient

    def send(self, domain: str) -> Delivery:
        """Submit a message for a new recipient at a domain, and wait for its outcome."""
        mark = self.log.mark
        return self.outcome(self.submit(domain), mark)

    def outcome(self, recipient: str, mark: int) -> Delivery:
        """Wait for the outcome of a message that was submitted after `mark`."""
        queue_id, dsn, status, why = self.log.wait(
            rf" (\w+): to=<{re.escape(recipient)}>,.* dsn=([\d.]+), status=(\w+) \((.*)\)", mark
        ).groups()
        if status != "deferred":
            self.log.wait(rf" {queue_id}: removed", mark)
        log = tuple(self.log.since(mark))
        receipts = tuple(self._world.receipts(recipient))
        return Delivery(recipient, status, dsn, why, log, self.queue().get(recipient), receipts)

    def queue(self) -> dict[str, str]:
        """Return recipients with queued mail → the reason (`postqueue -j`)."""
        messages = (json.loads(line) for line in self.run("postqueue", "-j").splitlines())
        every = itertools.chain.from_iterable(message["recipients"] for message in messages)
        return {each["address"]: each.get("delay_reason", "") for each in every}

    def command(self, *words: str) -> list[str]:
        """Return the command line that runs `words` in the tree.

        It mounts /proc, because /dev/stdout points there. Each `ip netns exec` has its own mounts,
        which end with its last process, so nothing is unmounted.
        """
        script = 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"'
        return self._inside.command("sh", "-c", script, self.root, *words)

    def programs(self, folder: Path) -> Path:
        """Write scripts to a new folder for PATH, each of which runs a program of this Postfix.

        It runs in the same working directory, if that is in the tree.
        """
        folder.mkdir()
        inside = shlex.join(self.command("sh", "-c", 'cd "$0" 2>&-; exec "$@"'))
        for name in ("postconf", "postmap", "postmulti", "postqueue", "sendmail"):
            script(folder / name, f'exec {inside} "${{PWD#{self.root}}}" {name} "$@"')
        return folder

    def run(self, *words: str, text: str = "") -> str:
        """Run one of Postfix's programs in the tree, and return its output."""
        done = subprocess.run(
            self.command(*words), input=text, check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{words} ended with {done.returncode}: {done.stderr}"
        return done.stdout


@contextlib.contextmanager
def mta(
    inside: Namespace,
    tree: Path,
    root: Path,
    version: str,
    world: World,
    resolver: str,
    log: Path,
    *,
    settings: Sequence[str] = (),
) -> Iterator[Mta]:
    """Run a Postfix in `root`, a copy of `tree`, while the context is open.

    `settings` are more lines for main.cf.
    """
    # Not shutil.copytree, which cannot copy devices.
    subprocess.run(["cp", "-a", "--reflink=auto", tree, root], check=True)
    made = Mta(inside, root, version, world)
    _configure(made, world, resolver, settings)
    with subprocess.Popen(
        made.command("postfix", "start-fg"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout
        made.log = Transcript(process.stdout, log)
        try:
            made.log.wait("daemon started -- version")
            yield made
        finally:
            made.run(
                "postfix", "stop"
            )  # a signal would end only the script that waits for master(8)
            process.wait()
            made.log.end()


def _configure(made: Mta, world: World, resolver: str, settings: Sequence[str]) -> None:
    etc = made.root / "etc"
    (etc / "postfix/main.cf").write_text(_MAIN_CF + "".join(f"{each}\n" for each in settings))
    shutil.copy(world.ca_file, etc / "postfix/ca.pem")
    jail = made.root / QUEUE / "etc"
    jail.mkdir(parents=True, exist_ok=True)
    for name in ("hosts", "services", "nsswitch.conf"):
        shutil.copy(etc / name, jail)
    made.resolve(resolver)
    made.sockets.mkdir(parents=True)
    made.run("postconf", "-MX", "smtp/inet")  # it receives no mail over the network
