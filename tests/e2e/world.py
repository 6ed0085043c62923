"""Controls the servers of a test: their records, policies, outages and received mail.

The servers themselves run in a process of their own, see `servers.py`.
"""

import contextlib
import itertools
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.e2e.namespace import Namespace
from tests.e2e.servers import POLICY_HOST
from tests.e2e.sinks import SINKS, Receipt
from tests.support.remote import Remote, running

TTL: Final = 60
"""Seconds, for every record of most worlds. A smaller one has no effect: lifecycle.MIN_RECHECK."""


class World(Remote):
    """The running servers; created by `world`."""

    def __init__(self, process: subprocess.Popen[str], ca_file: Path) -> None:
        super().__init__(process)
        self._names = itertools.count(1)
        self.ca_file: Final = ca_file
        self.ttl = TTL

    def fresh(self, label: str) -> str:
        """Return an unused domain name, so that a deferral in one test does not affect another."""
        return f"{label}-{next(self._names)}.test"

    def records(self, zone: Mapping[str, Sequence[str]]) -> None:
        """Publish records, `"name TYPE"` to data; empty data removes them."""
        self._send("records", zone=zone, ttl=self.ttl)

    def faults(self, faults: Mapping[str, str]) -> None:
        """Answer queries, `"name TYPE"`, with a fault: the name of a `dns.Fault`."""
        self._send("faults", faults=faults)

    def sign(self, signed: Sequence[str], unsigned: Sequence[str] = ()) -> None:
        """Have the name servers claim that DNSSEC proves all below these names, or does not."""
        self._send("sign", signed=signed, unsigned=unsigned)

    def open_zoo(self) -> None:
        """Start the MX hosts of the zoo."""
        self._send("start", server="zoo")

    def zoo_tlsa(self, kind: str, host: str, parameters: Sequence[int]) -> str:
        """Return TLSA data: usage, selector and matching type are the parameters."""
        data: str = self._send("zoo_tlsa", kind=kind, host=host, parameters=parameters)
        return data

    def serve(
        self,
        domain: str,
        body: str,
        *,
        status: int,
        fields: Mapping[str, str],
        certificate: str,
    ) -> None:
        """Set the Policy Host's answer, and with whose certificate (a host of the zoo) it comes."""
        self._send(
            "answer",
            host=f"mta-sts.{domain}",
            status=status,
            body=body,
            fields=fields,
            certificate=certificate,
        )

    def mail_host(self, domain: str, sink: str, *, label: str = "mx") -> None:
        """Set the domain's only MX host, `LABEL.DOMAIN`, to the sink of that name."""
        host = f"{label}.{domain}"
        self.records({f"{domain} MX": [f"10 {host}."], f"{host} A": [SINKS[sink][0]]})

    def policy(
        self, domain: str, mode: str, *, mx: Sequence[str] = (), policy_id: str = "1"
    ) -> None:
        """Publish a policy for the domain; without `mx` it names `mx.DOMAIN`."""
        lines = ["version: STSv1", f"mode: {mode}"]
        lines += [f"mx: {pattern}" for pattern in mx or [f"mx.{domain}"]]
        text = "\r\n".join([*lines, "max_age: 604800", ""])
        self._send("policy", host=f"mta-sts.{domain}", text=text)
        self.records({
            f"_mta-sts.{domain} TXT": [f'"v=STSv1; id={policy_id};"'],
            f"mta-sts.{domain} A": [POLICY_HOST],
        })  # fmt: skip

    def wants_reports(self, domain: str) -> None:
        """Publish a record for TLS reports (RFC 8460 §3), without which Postfix creates none."""
        record = f'"v=TLSRPTv1; rua=mailto:reports@{domain}"'
        self.records({f"_smtp._tls.{domain} TXT": [record]})

    def tlsa(self, sink: str, host: str) -> str:
        """Return the TLSA data of a sink's certificate for a host."""
        data: str = self._send("tlsa", sink=sink, host=host)
        return data

    def forge(self, forged: Mapping[str, Sequence[str]]) -> None:
        """Forge answers on the way to the signed zones from now on; see `Forger`."""
        self._send("forge", forged=forged)

    @contextlib.contextmanager
    def without(self, *servers: str) -> Iterator[None]:
        """Stop `dns` (the daemon's, not Postfix's) or `policy host` while the context is open."""
        for server in servers:
            self._send("stop", server=server)
        try:
            yield
        finally:
            for server in servers:
                self._send("start", server=server)

    def receipts(self, suffix: str) -> list[Receipt]:
        """Return what the sinks received for a recipient, or for all at `@DOMAIN`."""
        return [Receipt(**each) for each in self._send("receipts", suffix=suffix)]


@contextlib.contextmanager
def world(inside: Namespace, folder: Path, log: Path) -> Iterator[World]:
    """Run the servers while the context is open; write their CA to `folder`, errors to `log`."""
    command = inside.command(sys.executable, "-m", "tests.e2e.servers", folder)
    with running(command, log) as process:
        yield World(process, folder / "ca.pem")
