"""A small Internet for a daemon, on 127.0.0.1: a DNS server, Policy Hosts and a proxy.

    async with internet(tmp_path) as net:
        net.publish("good.test")
        config.load(net.config(tmp_path))  # for another process
        net.settings(tmp_path)             # for this one: `running(..., https_port=net.hosts.port)`

The tests start the daemon. One in another process needs the proxy, since the port of the Policy
Hosts is not 443.
"""

import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeAlias

from postfix_mta_sts.config import settings as config
from postfix_mta_sts.config.settings import Settings
from tests.support.dns import DnsServer, Fault, Records
from tests.support.policy_host import PolicyHost, Script, ok, policy_text
from tests.support.proxy import ConnectProxy
from tests.support.tls import Authority

Changes: TypeAlias = Mapping[str, Mapping[str, object]]
"""Changes of a configuration: section → key → value."""
AS_IT_IS: Final[Changes] = MappingProxyType({})

SOCKETMAP: Final = "socketmap"
TCP_TABLE: Final = "tcp_table"
TCP_TABLE_TLSRPT: Final = "tcp_table_tlsrpt"
"""The UNIX sockets of a daemon, by their file names."""


@cache
def authority() -> Authority:
    """The CA of all Policy Hosts; shared, because making one takes long."""
    return Authority()


class Internet:
    """A DNS server, Policy Hosts and a proxy; made by `internet`."""

    def __init__(self, dns: DnsServer, hosts: PolicyHost, proxy: ConnectProxy, ca: Path) -> None:
        self.dns = dns
        self.hosts = hosts
        self.proxy = proxy
        self.ca_file = ca

    def publish(
        self,
        domain: str,
        answer: bytes | Script | None = None,
        policy_id: str = "id1",
        ttl: int = 300,
    ) -> None:
        """Give a domain a TXT record, a Policy Host and its response, and the MX host mx1.<domain>.

        The default response is a policy with mode enforce and that MX host.
        """
        self.deliver_to(domain)
        self.record(domain, f"v=STSv1; id={policy_id};", ttl)
        self.dns.zone[f"mta-sts.{domain} A"] = ["127.0.0.1"]
        policy = ok(policy_text(mx=[f"mx1.{domain}"]))
        self.hosts.answers[f"mta-sts.{domain}"] = policy if answer is None else answer

    def deliver_to(self, domain: str, *names: str) -> None:
        """Give a domain MX hosts on this machine, by default mx1.<domain>, if it has none yet."""
        names = names or (f"mx1.{domain}",)
        ranks = range(10, 10 + 10 * len(names), 10)
        records = [f"{rank} {name}." for rank, name in zip(ranks, names, strict=True)]
        self.dns.zone.setdefault(f"{domain} MX", records)
        for name in names:
            self.dns.zone.setdefault(f"{name} A", ["127.0.0.1"])

    def record(self, domain: str, text: str, ttl: int = 300) -> None:
        """Give a domain a TXT record with this text, in zone file notation."""
        self.dns.zone[f"_mta-sts.{domain} TXT"] = Records([f'"{text}"'], ttl)

    def vouch(self, domain: str) -> None:
        """Give a domain an MX host with a TLSA record; signs the whole DNS."""
        self.dns.signed.add(".")
        self.dns.zone |= {
            ". SOA": ["a. b. 1 2 3 4 5"],
            f"{domain} MX": [f"10 mx1.{domain}."],
            f"mx1.{domain} A": ["127.0.0.1"],
            f"_25._tcp.mx1.{domain} TLSA": ["3 1 1 " + "ab" * 32],
        }

    def vanish(self, fault: Fault = Fault.SILENCE) -> None:
        """Remove all names from the DNS, which then answers with this fault."""
        self.dns.zone.clear()
        self.dns.default = fault

    def queries(self, domain: str) -> int:
        """The number of queries for the TXT record of a domain."""
        return self.dns.queries[f"_mta-sts.{domain}", "TXT"]

    def gets(self, domain: str) -> int:
        """The number of GETs for the policy of a domain."""
        return self.hosts.gets[f"mta-sts.{domain}"]

    def options(self, folder: Path, changes: Changes = AS_IT_IS) -> dict[str, object]:
        """A configuration as parsed from YAML, with files and sockets in `folder`."""
        sections: dict[str, Mapping[str, object]] = {
            "cache": {"path": str(folder / "policies.db")},
            "control": {"path": str(folder / "control.sock")},
            "dns": {"nameservers": [self.dns.address]},
            "dane": {"mode": "off"},  # otherwise the Postfix of this machine would be queried
            "https": {"ca_file": str(self.ca_file), "allow_private_addresses": True},
            "lookup": {"timeout": "50s"},  # enough for a busy machine, less than a test waits
        }
        if "COVERAGE_PROCESS_CONFIG" in os.environ:
            # A process that measures coverage writes a file at its end.
            sections["network"] = {"sandbox": "off"}
        for name, section in changes.items():
            sections[name] = {**sections.get(name, {}), **section}
        listeners: list[dict[str, object]] = [
            # With a mode, or each start warns on a machine without a user postfix.
            {"socketmap": f"unix:{folder / SOCKETMAP}", "mode": "0660"},
            {"tcp_table": f"unix:{folder / TCP_TABLE}", "mode": "0660"},
            {"tcp_table": f"unix:{folder / TCP_TABLE_TLSRPT}", "mode": "0660", "tlsrpt": True},
        ]
        return {"listen": listeners, **sections}

    def settings(self, folder: Path, changes: Changes = AS_IT_IS) -> Settings:
        """The same configuration as `Settings`."""
        return config.parse(json.dumps(self.options(folder, changes)), "test")

    def config(self, folder: Path, changes: Changes = AS_IT_IS) -> Path:
        """The same configuration as a file, for another process, which uses the proxy."""
        with_proxy = {**changes, "https": {"proxy": self.proxy.url, **changes.get("https", {})}}
        path = folder / "config.yml"
        path.write_text(json.dumps(self.options(folder, with_proxy)))  # JSON is YAML
        return path


@asynccontextmanager
async def internet(folder: Path) -> AsyncIterator[Internet]:
    """An Internet without domains; writes the file of the CA into `folder`."""
    async with (
        DnsServer() as dns,
        PolicyHost(authority()) as hosts,
        ConnectProxy(hosts.port) as proxy,
    ):
        yield Internet(dns, hosts, proxy, authority().write(folder))
