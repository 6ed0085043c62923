"""Real DNSSEC: nsd serves the zones, and a validating unbound asks nsd.

Both are Debian's and run in the tree that has them. The tree is not changed: their files are in a
folder of the harness that is mounted over the tree's /mnt. unbound trusts only the root key of
these zones.
"""

import contextlib
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import dns.flags
import dns.message
import dns.query

from tests.e2e.domains import FORGED, SERVER
from tests.e2e.namespace import Namespace
from tests.e2e.servers import AUTHORITATIVE_DNS, FORGED_DNS
from tests.e2e.signed import Tree
from tests.e2e.transcript import TIMEOUT, Transcript

VALIDATING_DNS: Final = "127.0.0.55"
"""Where unbound listens."""

NSD_CONF: Final = f"""\
server:
  ip-address: {AUTHORITATIVE_DNS}
  username: ""
  chroot: ""
  zonesdir: "/mnt"
  pidfile: ""
  xfrdir: "/mnt"
  xfrdfile: ""
  zonelistfile: "/mnt/zone.list"
  server-count: 1
  ipv4-edns-size: 4096
remote-control:
  control-enable: no
"""


def unbound_conf(interface: str, *more: str) -> str:
    """The configuration of an unbound in a tree, at this address; `more` are lines of `server:`."""
    # unbound answers "test." itself by default (RFC 6761 §6.2).
    common = f"""\
server:
  interface: {interface}
  access-control: 127.0.0.0/8 allow
  do-ip6: no
  do-not-query-localhost: no
  username: ""
  chroot: ""
  directory: "/mnt"
  pidfile: ""
  use-syslog: no
  verbosity: 1
  root-hints: "/mnt/root.hints"
  local-zone: "test." nodefault
"""
    return common + "".join(f"  {line}\n" for line in more)


_UNBOUND: Final = unbound_conf(
    VALIDATING_DNS,
    "val-log-level: 2",
    'module-config: "validator iterator"',
    'trust-anchor-file: "/mnt/root.key"',
    "edns-buffer-size: 4096",
)


@dataclass(frozen=True, slots=True)
class Resolver:
    """The validating resolver."""

    _inside: Namespace
    _process: subprocess.Popen[str]

    def ask(self, name: str, kind: str, *, unchecked: bool = False) -> dns.message.QueryMessage:
        """Return unbound's answer to a query with DO, over TCP; `unchecked`: with CD as well."""
        query = dns.message.make_query(name, kind, want_dnssec=True)
        if unchecked:
            query.flags |= dns.flags.CD
        with self._inside.connect(VALIDATING_DNS, 53) as connection:
            answer = dns.query.tcp(query, VALIDATING_DNS, sock=connection)
        assert isinstance(answer, dns.message.QueryMessage)
        return answer

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stop unbound while the context is open: queries get neither an answer nor an error."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def resolver(
    inside: Namespace, place: Path, folder: Path, zones: Tree, logs: Path
) -> Iterator[Resolver]:
    """Run both servers from the tree `place`, with their files in `folder`."""
    folder.mkdir()
    _write(folder, zones)
    with (
        _running(inside, place, folder, "nsd", "nsd started", logs),
        _running(inside, place, folder, "unbound", "start of service", logs) as unbound,
    ):
        yield Resolver(inside, unbound)


def _write(folder: Path, zones: Tree) -> None:
    nsd = NSD_CONF
    for name, text in zones.files.items():
        (folder / f"{name}.zone").write_text(text)
        nsd += f'zone:\n  name: "{name}."\n  zonefile: "{name}.zone"\n'
    (folder / "nsd.conf").write_text(nsd)
    (folder / "root.hints").write_text(f". NS {SERVER}.\n{SERVER}. A {AUTHORITATIVE_DNS}\n")
    (folder / "root.key").write_text(zones.anchor)
    unbound = _UNBOUND
    for name in sorted({_zone(key) for key in FORGED}):
        unbound += f'stub-zone:\n  name: "{name}."\n  stub-addr: {FORGED_DNS}\n'
    (folder / "unbound.conf").write_text(unbound)


def _zone(key: str) -> str:
    """Return the zone of a record, `"name TYPE"`: always two labels here."""
    return ".".join(key.partition(" ")[0].split(".")[-2:])


@contextlib.contextmanager
def _running(
    inside: Namespace, place: Path, folder: Path, program: str, ready: str, logs: Path
) -> Iterator[subprocess.Popen[str]]:
    """Run a server in the foreground; yield it when its log contains `ready`."""
    script = 'mount --bind "$1" "$0/mnt" && exec chroot "$0" "$2" -d -c "/mnt/$2.conf"'
    with subprocess.Popen(
        inside.command("sh", "-c", script, place, folder, program),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout
        log = Transcript(process.stdout, logs / f"{program}.log")
        try:
            log.wait(ready)
            yield process
        finally:
            process.terminate()
            process.wait(TIMEOUT)
            log.end()
