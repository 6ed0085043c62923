"""Record some minutes of a daemon's life, with faults, with a Prometheus that scrapes each second.

    python -m bench.recording build/recording                        store the data of Prometheus
    python -m bench.recording build/recording --draw PYTHON PICTURE  and draw the dashboard

This module scripts the events that the dashboard shows; it measures nothing. The
network is that of the tests, in this process. PYTHON is an interpreter with matplotlib.
"""

import argparse
import asyncio
import itertools
import json
import random
import subprocess
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack, suppress
from pathlib import Path
from typing import Final

from bench.process import Address, answers_at, running
from bench.space import NAMESERVER, run_inside, set_up
from tests.support.clients import connected
from tests.support.dns import DnsServer, Fault, Records
from tests.support.policy_host import PolicyHost, ok, policy_text, reply, silence
from tests.support.tls import Authority, self_signed

SECONDS: Final = 300
KNOWN: Final = 400
"""Domains that are looked up repeatedly, the first ones most often."""
CLIENTS: Final = 20
PAUSE: Final = 0.04
"""Seconds between two look-ups of a client."""
NEW_EACH: Final = 0.15
"""Seconds between two new domains."""
BURST: Final = range(60, 65)
"""The seconds in which many new domains are looked up."""
DNS_DOWN: Final = range(120, 165)
DISK_FULL: Final = range(200, 240)
DISK: Final = "6m"
PROMETHEUS: Final = "127.0.0.1:9090"
METRICS: Final = "127.0.0.1:8463"
LISTENER: Final = Address("tcp:8461")

ABSENT, HANGING = "absent", "hanging"
_KINDS: Final = (
    *("enforce", ABSENT, ABSENT, "enforce", "testing", ABSENT, "enforce", "none", ABSENT),
    *("certificate", ABSENT, "enforce", "status", ABSENT, "invalid", ABSENT, "enforce"),
)


class World:
    """The zone of the DNS and the answers of the Policy Hosts."""

    def __init__(self, dns: DnsServer, hosts: PolicyHost) -> None:
        self._dns = dns
        self._hosts = hosts
        self._zone = dns.zone
        self._bad = self_signed("bad.test")
        self._numbers = itertools.count()
        self._kinds = itertools.cycle(_KINDS)

    def new_domain(self, kind: str = "") -> str:
        """Create a new domain; most have no policy, and some a broken one."""
        domain, kind = f"d{next(self._numbers)}.test", kind or next(self._kinds)
        if kind != ABSENT:
            self._publish(domain, kind)
        return domain

    def fail_dns(self, *, failing: bool) -> None:
        """Answer all queries with SERVFAIL, or normally again."""
        self._dns.zone = {} if failing else self._zone
        self._dns.default = Fault.SERVFAIL if failing else Fault.NXDOMAIN

    def _publish(self, domain: str, kind: str) -> None:
        host = f"mta-sts.{domain}"
        self._zone[f"_mta-sts.{domain} TXT"] = Records(['"v=STSv1; id=1;"'], 60)
        self._zone[f"{host} A"] = [self._hosts.host]
        mode = kind if kind in {"testing", "none"} else "enforce"
        self._hosts.answers[host] = ok(policy_text(mode=mode, mx=[f"mx.{domain}"]))
        match kind:
            case "certificate":
                self._hosts.credentials[host] = self._bad
            case "status":
                self._hosts.answers[host] = reply(404)
            case "invalid":
                self._hosts.answers[host] = ok(b"<html>")
            case "hanging":
                self._hosts.answers[host] = silence


async def inside(folder: Path, draw: Sequence[str] | None) -> None:
    """Run network, daemon, Prometheus and traffic."""
    authority = Authority()
    async with AsyncExitStack() as stack:
        dns = await stack.enter_async_context(DnsServer(host=NAMESERVER, port=53))
        hosts = PolicyHost(authority, host="127.0.0.21", port=443)
        await stack.enter_async_context(hosts)
        servers = stack.enter_context(ExitStack())
        await asyncio.to_thread(_start, servers, folder, authority.write(folder))
        await _run_events(World(dns, hosts), folder / "disk")
        if draw:
            python, picture = draw
            drawing = [python, "contrib/grafana/draw.py", PROMETHEUS, str(SECONDS), picture]
            await asyncio.to_thread(subprocess.run, drawing, check=True)


def _start(servers: ExitStack, folder: Path, ca_file: Path) -> None:
    """Start the daemon and Prometheus."""
    config = {
        "cache": {"path": str(folder / "disk/policies.db"), "memory_entries": 1200},
        "control": {"path": str(folder / "control.sock")},
        "dns": {"timeout": "2s"},
        "https": {"ca_file": str(ca_file), "allow_private_addresses": True, "timeout": "6s"},
        "lookup": {"timeout": "4s"},
        "metrics": {"listen": METRICS},
    }
    (folder / "daemon.yml").write_text(json.dumps(config))  # JSON is YAML
    daemon: list[str | Path] = [sys.executable, "-m", "postfix_mta_sts", "serve"]
    daemon += ["--config", folder / "daemon.yml"]
    servers.enter_context(running(daemon, folder / "daemon.log", answers_at(LISTENER)))
    target = {"job_name": "postfix-mta-sts", "static_configs": [{"targets": [METRICS]}]}
    scraping = {"global": {"scrape_interval": "1s"}, "scrape_configs": [target]}
    (folder / "prometheus.yml").write_text(json.dumps(scraping))
    prometheus = ["prometheus", f"--config.file={folder / 'prometheus.yml'}"]
    prometheus += [f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={PROMETHEUS}"]
    ready = answers_at(Address("tcp:9090"))
    servers.enter_context(running(prometheus, folder / "prometheus.log", ready))


async def _run_events(world: World, disk: Path) -> None:
    """Send look-ups and cause the events, second by second."""
    known = [world.new_domain() for _ in range(KNOWN)]
    new: asyncio.Queue[str] = asyncio.Queue()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_look_up_known(known)) for _ in range(CLIENTS)]
        tasks += [group.create_task(_look_up_new(new)) for _ in range(CLIENTS)]
        tasks.append(group.create_task(_create_domains(world, new)))
        for second in range(SECONDS):
            world.fail_dns(failing=second in DNS_DOWN)
            for _ in range(60 if second in BURST else 0):
                new.put_nowait(world.new_domain())
            _fill(disk / "filler", full=second in DISK_FULL)
            await asyncio.sleep(1)
        for task in tasks:
            task.cancel()


async def _look_up_known(known: list[str]) -> None:
    async with connected(("127.0.0.1", 8461)) as client:
        while True:
            await client.ask(known[int(len(known) * random.random() ** 3)])  # noqa: S311 (traffic)
            await asyncio.sleep(PAUSE)


async def _look_up_new(new: asyncio.Queue[str]) -> None:
    async with connected(("127.0.0.1", 8461)) as client:
        while True:
            await client.ask(await new.get())


async def _create_domains(world: World, new: asyncio.Queue[str]) -> None:
    for number in itertools.count():
        new.put_nowait(world.new_domain(HANGING if number % 40 == 0 else ""))
        await asyncio.sleep(NEW_EACH)


def _fill(filler: Path, *, full: bool) -> None:
    """Fill a disk, or free it again."""
    if not full:
        filler.unlink(missing_ok=True)
        return
    with suppress(OSError), filler.open("ab", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


def main() -> int:
    """Read the command line and record, inside new namespaces."""
    parser = argparse.ArgumentParser(prog="bench.recording")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--draw", nargs=2, metavar=("PYTHON", "PICTURE"))
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if not given.inside:
        given.folder.mkdir(parents=True)
        return run_inside("bench.recording", [*sys.argv[1:], "--inside"])
    folder = given.folder.resolve()
    set_up(folder)
    (folder / "disk").mkdir()
    disk = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", folder / "disk"]
    subprocess.run(disk, check=True)
    asyncio.run(inside(folder, given.draw))
    return 0


if __name__ == "__main__":
    sys.exit(main())
