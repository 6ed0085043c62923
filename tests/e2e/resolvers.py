"""Debian's resolvers in front of one small world of signed zones, each at an address of its own.

nsd serves the zones. They run in a namespace and from a tree that is not changed: their files are
mounted over its /mnt. systemd-resolved needs a /run of its own, and an interface with an address:
a veth pair whose ends are both in the namespace.
"""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.e2e.namespace import Namespace
from tests.e2e.resolving import NSD_CONF, unbound_conf
from tests.e2e.servers import AUTHORITATIVE_DNS
from tests.e2e.signed import Signing, Tree, Zone, tree
from tests.e2e.transcript import TIMEOUT, Transcript

PACKAGES: Final = ("bind9", "dnsmasq-base", "systemd-resolved")
"""Besides nsd and unbound."""
NSD: Final = AUTHORITATIVE_DNS
UNBOUND: Final = "127.0.0.71"
BIND: Final = "127.0.0.72"
DNSMASQ: Final = "127.0.0.73"
DNSMASQ_PROXY: Final = "127.0.0.74"
DNSMASQ_DNSSEC: Final = "127.0.0.75"
RESOLVED: Final = "127.0.0.53"
RESOLVED_PLAIN: Final = "127.0.0.76"
NOBODY: Final = "127.0.0.99"
"""Where nothing listens."""
SILENT: Final = "127.0.0.98"
"""Where queries arrive and are not answered; see `lookups.py`."""

_SERVER: Final = "ns.test"
_RECORD: Final = '"v=STSv1; id=1;"'
_TLSA: Final = "3 1 1 " + "ab" * 32


def zones() -> Tree:
    """Domains that are right, absent, not signed, wrongly signed, or served by nobody.

    Each domain directly below many.test has the MX host of good.test.
    """
    server = {f"{_SERVER} A": [NSD]}
    dead = {"dead.test NS": ["ns.dead.test."], "ns.dead.test A": [SILENT]}
    good = {
        "_mta-sts.good.test TXT": [_RECORD],
        "_mta-sts.alias.good.test CNAME": ["_mta-sts.good.test."],
        "_mta-sts.long.good.test TXT": [_RECORD, *(f'"{n:0200}"' for n in range(20))],
        "none.good.test MX": ["10 mx.good.test."],
        "_mta-sts.none.good.test A": ["192.0.2.1"],
        "good.test MX": ["10 mx.good.test."],
        "mx.good.test A": ["192.0.2.1"],
        "_25._tcp.mx.good.test TLSA": [_TLSA],
    }
    made = [
        Zone("", server),
        Zone("test", server | dead),
        Zone("good.test", good),
        Zone("many.test", {"*.many.test MX": ["10 mx.good.test."]}),
        Zone("plain.test", {"_mta-sts.plain.test TXT": [_RECORD]}, Signing.NONE),
        Zone("expired.test", {"_mta-sts.expired.test TXT": [_RECORD]}, Signing.EXPIRED),
    ]
    return tree(made, _SERVER)


class Resolvers:
    """The running resolvers; `unbound` is the one that others ask."""

    def __init__(self, unbound: "subprocess.Popen[str]") -> None:
        self.unbound = unbound


@contextlib.contextmanager
def resolvers(inside: Namespace, place: Path, folder: Path, logs: Path) -> Iterator[Resolvers]:
    """Run all of them from the tree `place`, with their files in `folder`."""
    folder.mkdir()
    _prepare(inside)
    _write(folder, zones())
    with contextlib.ExitStack() as stack:

        def run(name: str, ready: str, *words: str) -> "subprocess.Popen[str]":
            log = logs / f"resolvers-{name}.log"
            return stack.enter_context(_running(inside, place, folder, log, ready, name, *words))

        run("nsd", "nsd started", "nsd", "-d", "-c", "/mnt/nsd.conf")
        unbound = run("unbound", "start of service", "unbound", "-d", "-c", "/mnt/unbound.conf")
        run("named", "running", "named", "-g", "-c", "/mnt/named.conf")
        for name in ("dnsmasq", "dnsmasq-proxy", "dnsmasq-dnssec"):
            run(name, "started", "dnsmasq", "-k", "-C", f"/mnt/{name}.conf")
        for name in ("resolved", "resolved-plain"):
            run(name, "Using system hostname", "/usr/lib/systemd/systemd-resolved")
        yield Resolvers(unbound)


def _prepare(inside: Namespace) -> None:
    for words in (
        f"addr add {BIND}/8 dev lo",  # named listens on addresses of interfaces only
        "addr add fe80::53/64 dev lo nodad",
        "link add away type veth peer name other",
        "addr add 192.0.2.254/24 dev away",
        "link set away up",
        "link set other up",
    ):
        subprocess.run(inside.command("ip", *words.split()), check=True, capture_output=True)


def _write(folder: Path, served: Tree) -> None:
    files = _files(served)
    files["nsd.conf"] = NSD_CONF
    for name, text in served.files.items():
        files[f"{name}.zone"] = text
        files["nsd.conf"] += f'zone:\n  name: "{name}."\n  zonefile: "{name}.zone"\n'
    for name, text in files.items():
        (folder / name).write_text(text)


def _files(served: Tree) -> dict[str, str]:
    tag, algorithm, digest_type, digest = served.anchor.split()[-4:]
    dnsmasq_anchor = f"trust-anchor=.,{tag},{algorithm},{digest_type},{digest}"
    return {
        "root.hints": f". NS {_SERVER}.\n{_SERVER}. A {NSD}\n",
        "root.positive": served.anchor,
        "none.negative": "invalid\n",  # systemd-resolved does not validate "test" by default
        "unbound.conf": _unbound(served.anchor),
        "named.conf": _named(f'. static-ds {tag} {algorithm} {digest_type} "{digest}"'),
        "dnsmasq.conf": _dnsmasq(DNSMASQ),
        "dnsmasq-proxy.conf": _dnsmasq(DNSMASQ_PROXY) + "proxy-dnssec\n",
        "dnsmasq-dnssec.conf": f"{_dnsmasq(DNSMASQ_DNSSEC)}dnssec\n{dnsmasq_anchor}\n",
        "resolved": _resolved("DNSSEC=yes\n"),
        "resolved-plain": _resolved(
            f"DNSSEC=no\nDNSStubListener=no\nDNSStubListenerExtra={RESOLVED_PLAIN}\n"
        ),
    }


def _unbound(anchor: str) -> str:
    return unbound_conf(UNBOUND, f'trust-anchor: "{anchor.strip()}"')


def _named(anchor: str) -> str:
    return f"""\
options {{
  directory "/mnt"; managed-keys-directory "/mnt"; pid-file none; session-keyfile none;
  listen-on {{ {BIND}; }}; listen-on-v6 {{ none; }}; allow-query {{ any; }};
  recursion yes; dnssec-validation yes; empty-zones-enable no;
}};
controls {{ }};
trust-anchors {{ {anchor}; }};
zone "." {{ type hint; file "/mnt/root.hints"; }};
"""


def _dnsmasq(address: str) -> str:
    return f"""\
user=root
no-resolv
no-hosts
bind-interfaces
listen-address={address}
server={UNBOUND}
log-facility=-
"""


def _resolved(more: str) -> str:
    return f"[Resolve]\nDNS={UNBOUND}\nFallbackDNS=\nDomains=~.\nLLMNR=no\n{more}"


_START: Final = """\
mount --bind "$1" "$0/mnt" &&
mount -t tmpfs tmpfs "$0/run" && mount -t proc proc "$0/proc" &&
mkdir -p "$0/run/systemd/resolved.conf.d" "$0/run/dnssec-trust-anchors.d" &&
cp "$1/root.positive" "$1/none.negative" "$0/run/dnssec-trust-anchors.d" &&
if [ -f "$1/$2" ]; then cp "$1/$2" "$0/run/systemd/resolved.conf.d/$2.conf"; fi &&
shift 2 && exec chroot "$0" "$@"
"""


@contextlib.contextmanager
def _running(
    inside: Namespace, place: Path, folder: Path, log: Path, ready: str, *words: str
) -> Iterator["subprocess.Popen[str]"]:
    """Run a server in the foreground; yield it when its log contains `ready`."""
    with subprocess.Popen(
        inside.command("sh", "-c", _START, place, folder, *words),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout
        transcript = Transcript(process.stdout, log)
        try:
            transcript.wait(ready)
            yield process
        finally:
            process.terminate()
            process.wait(TIMEOUT)
            transcript.end()
