"""The world as a test arranges it: who publishes what, which servers live, what they received.

Border: the servers themselves are `servers.py`, in a process of their own.
"""

import contextlib
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.e2e.namespace import Namespace
from tests.e2e.servers import POLICY_HOST
from tests.e2e.sinks import SINKS, Receipt

TTL: Final = 60
"""Seconds, of every record. Less would change nothing: lifecycle.RECHECK_LEAST."""


class World:
    """A handle on the running servers; made by `world`."""

    def __init__(self, process: subprocess.Popen[str], ca_file: Path) -> None:
        self._process = process
        self._names = itertools.count(1)
        self.ca_file: Final = ca_file

    def fresh(self, label: str) -> str:
        """A domain name that nobody has used before: one test's trouble is not the next one's."""
        return f"{label}-{next(self._names)}.test"

    def mail_host(self, domain: str, sink: str, *, label: str = "mx") -> None:
        """Let the domain's only MX host be `LABEL.DOMAIN`, which is the sink of that name."""
        host = f"{label}.{domain}"
        self._records({f"{domain} MX": [f"10 {host}."], f"{host} A": [SINKS[sink][0]]})

    def policy(
        self, domain: str, mode: str, *, mx: Sequence[str] = (), policy_id: str = "1"
    ) -> None:
        """Let the domain publish a policy; without `mx` it is for `mx.DOMAIN`."""
        lines = ["version: STSv1", f"mode: {mode}"]
        lines += [f"mx: {pattern}" for pattern in mx or [f"mx.{domain}"]]
        text = "\r\n".join([*lines, "max_age: 604800", ""])
        self._send("policy", host=f"mta-sts.{domain}", text=text)
        self._records({
            f"_mta-sts.{domain} TXT": [f'"v=STSv1; id={policy_id};"'],
            f"mta-sts.{domain} A": [POLICY_HOST],
        })  # fmt: skip

    def wants_reports(self, domain: str) -> None:
        """Let the domain ask for TLS reports (RFC 8460 §3): only then Postfix makes any."""
        record = f'"v=TLSRPTv1; rua=mailto:reports@{domain}"'
        self._records({f"_smtp._tls.{domain} TXT": [record]})

    def tlsa(self, sink: str, host: str) -> str:
        """The TLSA data for what a sink shows under a host's name."""
        data: str = self._send("tlsa", sink=sink, host=host)
        return data

    def forge(self, forged: Mapping[str, Sequence[str]]) -> None:
        """Let somebody lie on the way to the signed zones from now on; see `Forger`."""
        self._send("forge", forged=forged)

    @contextlib.contextmanager
    def without(self, *servers: str) -> Iterator[None]:
        """Let `dns` (the daemon's, not Postfix's) or `policy host` be dead while entered."""
        for server in servers:
            self._send("stop", server=server)
        try:
            yield
        finally:
            for server in servers:
                self._send("start", server=server)

    def receipts(self, suffix: str) -> list[Receipt]:
        """What the sinks took for a recipient, or for everybody at `@DOMAIN`."""
        return [Receipt(**each) for each in self._send("receipts", suffix=suffix)]

    def _records(self, zone: dict[str, list[str]]) -> None:
        self._send("records", zone=zone, ttl=TTL)

    def _send(self, command: str, **arguments: object) -> Any:  # noqa: ANN401 - JSON has any shape
        assert self._process.stdin
        self._process.stdin.write(json.dumps([command, arguments]) + "\n")
        self._process.stdin.flush()
        return self.answer()

    def answer(self) -> Any:  # noqa: ANN401 - JSON has any shape
        """The next line from the servers."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, "the servers have ended: see their log"
        return json.loads(line)


@contextlib.contextmanager
def world(inside: Namespace, folder: Path, log: Path) -> Iterator[World]:
    """A world that lives while entered; `folder` gets its CA, `log` its troubles."""
    command = inside.command(sys.executable, "-m", "tests.e2e.servers", folder)
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True
        ) as process,
    ):
        made = World(process, folder / "ca.pem")
        assert made.answer() == "ready"
        try:
            yield made
        finally:
            process.kill()  # it has nothing to save
