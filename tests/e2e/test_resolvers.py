"""Resolvers of Debian behind resolv.conf; the file as glibc reads it; a file that changes."""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from postfix_mta_sts.network.resolv_conf import LOCAL, ResolvConf
from tests.e2e import resolvers as servers
from tests.e2e.daemon import Daemon, running
from tests.e2e.lookups import DOMAINS, LINK_LOCAL
from tests.e2e.namespace import Namespace, namespace
from tests.e2e.passing_on import DOCKER
from tests.e2e.resolvers import PACKAGES, Resolvers
from tests.e2e.trees import WITH_DNS, extended
from tests.support.resolv_conf import MEANINGS

pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/dns.md"
PORT = 8461
TAKEN_UP_WITHIN = 30.0

FILES = {
    "unbound": [servers.UNBOUND],
    "BIND": [servers.BIND],
    "dnsmasq, forwards to unbound": [servers.DNSMASQ],
    "dnsmasq with `proxy-dnssec`": [servers.DNSMASQ_PROXY],
    "dnsmasq with `dnssec`": [servers.DNSMASQ_DNSSEC],
    "systemd-resolved, `DNSSEC=no`": [servers.RESOLVED_PLAIN],
    "systemd-resolved, `DNSSEC=yes`": [servers.RESOLVED],
    "as Docker's 127.0.0.11, forwards to unbound": [DOCKER],
    "the same at `fe80::53%lo`": [LINK_LOCAL],
    "nsd, for its own zones only": [servers.NSD],
    "nothing listens": [servers.NOBODY],
    "never answers": [servers.SILENT],
    "nothing listens, then unbound": [servers.NOBODY, servers.UNBOUND],
    "never answers, then unbound": [servers.SILENT, servers.UNBOUND],
}
"""Row of the table → servers."""


@pytest.fixture(scope="module")
def place() -> Iterator[Namespace]:
    """A namespace of its own: systemd-resolved wants 127.0.0.53."""
    with namespace(f"mta-sts-dns-{os.getpid()}", servers.UNBOUND) as made:
        yield made


@pytest.fixture(scope="module")
def running_servers(
    place: Namespace, trees: dict[str, Path], folder: Path, logs: Path
) -> Iterator[Resolvers]:
    """All resolvers, in front of the same zones."""
    system = extended(trees[WITH_DNS.postfix], "resolvers", PACKAGES)
    with servers.resolvers(place, system, folder / "resolvers", logs) as made:
        yield made


def _look_up(place: Namespace, folder: Path, options: str) -> dict[str, dict[str, str]]:
    """The rows of the table, each with this line of options in resolv.conf."""
    folder.mkdir()
    for name, addresses in FILES.items():
        lines = [f"nameserver {address}\n" for address in addresses]
        (folder / name).write_text("".join(lines) + f"options {options}\n")
    done = subprocess.run(
        place.command(sys.executable, "-m", "tests.e2e.lookups", folder),
        stdout=subprocess.PIPE,
        check=True,
        cwd=ROOT,
    )
    found: dict[str, dict[str, str]] = json.loads(done.stdout)
    return found


def _table(rows: dict[str, dict[str, str]]) -> str:
    columns = [*DOMAINS, "DANE"]
    lines = [["name server", *columns], ["---"] * (len(columns) + 1)]
    lines += [[name, *(rows[name][column] for column in columns)] for name in FILES]
    return "\n".join(
        f"| {' | '.join(line)} |".replace("| --- ", "|---").replace("--- |", "---|")
        for line in lines
    )


@pytest.mark.parametrize("options", ["edns0", "use-vc"])
@pytest.mark.usefixtures("running_servers")
def test_table(place: Namespace, tmp_path: Path, options: str) -> None:
    """The table in docs/dns.md is what the daemon finds through each, over UDP and over TCP."""
    rows = _look_up(place, tmp_path / "files", options)
    written = re.search(
        r"^\| name server .*?(?=\n\n|\Z)", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    assert written
    assert written[0].strip() == _table(rows), _table(rows)


GLIBC = """\
#include <arpa/inet.h>
#include <net/if.h>
#include <resolv.h>
#include <stdio.h>

int main(void) {
  struct __res_state found = {0};
  if (res_ninit(&found)) return 1;
  printf("%d %d %d %d\\n", found.retrans, found.retry,
         !!(found.options & RES_USEVC), !!(found.options & RES_ROTATE));
  for (int n = 0; n < found.nscount; n++) {
    char text[INET6_ADDRSTRLEN], zone[IF_NAMESIZE] = "";
    struct sockaddr_in6 *six = found._u._ext.nsaddrs[n];
    if (six) {
      inet_ntop(AF_INET6, &six->sin6_addr, text, sizeof text);
      if (six->sin6_scope_id) if_indextoname(six->sin6_scope_id, zone);
    } else
      inet_ntop(AF_INET, &found.nsaddr_list[n].sin_addr, text, sizeof text);
    printf("%s%s%s\\n", text, zone[0] ? "%" : "", zone);
  }
}
"""


@pytest.fixture(scope="module")
def glibc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that prints what glibc finds in /etc/resolv.conf."""
    folder = tmp_path_factory.mktemp("glibc")
    (folder / "found.c").write_text(GLIBC)
    subprocess.run(["cc", "-o", folder / "found", folder / "found.c"], check=True)
    return folder / "found"


def test_glibc(place: Namespace, glibc: Path, tmp_path: Path) -> None:
    """The C library finds in each text of the unit tests what the daemon finds in it."""
    path = tmp_path / "resolv.conf"
    script = 'mount --bind "$0" /etc/resolv.conf && exec "$1"'
    for text, expected in MEANINGS.items():
        path.write_bytes(text.encode(errors="surrogateescape"))
        words = place.command("sh", "-c", script, path, glibc)
        said = subprocess.run(words, capture_output=True, text=True, check=True)
        assert said.stdout.splitlines() == _as_glibc_says(expected), repr(text)


def _as_glibc_says(conf: ResolvConf) -> list[str]:
    """The lines of the program; glibc's defaults are 5 seconds and 2 attempts."""
    numbers = conf.timeout or 5, conf.attempts or 2, int(conf.use_tcp), int(conf.rotate)
    return [" ".join(map(str, numbers)), *(conf.servers or [LOCAL])]


def test_a_file_that_changes(
    place: Namespace, running_servers: Resolvers, folder: Path, logs: Path
) -> None:
    """The resolver falls silent and resolv.conf names another one: DANE goes on by it (C6)."""
    resolv_conf = Path("/etc/netns") / place.name / "resolv.conf"
    settings = {
        "listen": [{"socketmap": f"127.0.0.1:{PORT}"}],
        "dns": {"timeout": "2s"},
        "dane": {"mode": "on"},
        "lookup": {"timeout": "5s"},
    }
    daemon = Daemon(place, folder / "dns-daemon", logs / "dns-daemon.log", settings)
    with running(daemon):
        _wait_for_verdict(daemon, "before")
        running_servers.unbound.send_signal(signal.SIGSTOP)
        try:
            resolv_conf.write_text(f"nameserver {servers.BIND}\n")
            _wait_for_verdict(daemon, "after")
        finally:
            running_servers.unbound.send_signal(signal.SIGCONT)


def _wait_for_verdict(daemon: Daemon, label: str) -> None:
    """Ask for new domains until one has a verdict."""
    deadline = time.monotonic() + TAKEN_UP_WITHIN
    for name in itertools.count():
        if daemon.ask(PORT, f"postfix {label}{name}.many.test").startswith("OK dane-only"):
            return
        assert time.monotonic() < deadline, "the other name server is not used"
        time.sleep(0.5)
