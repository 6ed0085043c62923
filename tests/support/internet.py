"""The Internet as a daemon sees it, on 127.0.0.1: a DNS, Policy Hosts, and a way to them.

    async with internet(tmp_path) as net:
        net.publish("good.test")
        config.load(net.config(tmp_path))  # for a process of its own
        net.settings(tmp_path)             # for this one: `running(..., https_port=net.hosts.port)`

Border: what is published, and a configuration that leads there. A process of its own is led by a
proxy, for the port of the Policy Hosts is not 443.
"""

import json
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
"""Of a configuration: the sections, and what is said in them."""
AS_IT_IS: Final[Changes] = MappingProxyType({})

SOCKETMAP: Final = "socketmap"
TCP_TABLE: Final = "tcp_table"
TCP_TABLE_TLSRPT: Final = "tcp_table_tlsrpt"
"""The UNIX sockets of a daemon, by their file names."""


@cache
def authority() -> Authority:
    """The CA of all Policy Hosts; one is enough, and making one takes a while."""
    return Authority()


class Internet:
    """A DNS and Policy Hosts; made by `internet`."""

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
        """Give a domain a record, a Policy Host's address, and what it answers.

        Without an answer, a policy that enforces mx1.<domain>.
        """
        self.record(domain, f"v=STSv1; id={policy_id};", ttl)
        self.dns.zone[f"mta-sts.{domain} A"] = ["127.0.0.1"]
        policy = ok(policy_text(mx=[f"mx1.{domain}"]))
        self.hosts.answers[f"mta-sts.{domain}"] = policy if answer is None else answer

    def record(self, domain: str, text: str, ttl: int = 300) -> None:
        """Give a domain a TXT record, with this text in zone file notation."""
        self.dns.zone[f"_mta-sts.{domain} TXT"] = Records([f'"{text}"'], ttl)

    def vouch(self, domain: str) -> None:
        """Give a domain an MX host with a TLSA record, in a DNS that is signed from its root on."""
        self.dns.signed.add(".")
        self.dns.zone |= {
            ". SOA": ["a. b. 1 2 3 4 5"],
            f"{domain} MX": [f"10 mx1.{domain}."],
            f"mx1.{domain} A": ["127.0.0.1"],
            f"_25._tcp.mx1.{domain} TLSA": ["3 1 1 " + "ab" * 32],
        }

    def vanish(self, fault: Fault = Fault.SILENCE) -> None:
        """From now on the DNS knows nothing, and says so by this fault."""
        self.dns.zone.clear()
        self.dns.default = fault

    def queries(self, domain: str) -> int:
        """How often the TXT record of a domain was asked for."""
        return self.dns.queries[f"_mta-sts.{domain}", "TXT"]

    def gets(self, domain: str) -> int:
        """How often the policy of a domain was asked for."""
        return self.hosts.gets[f"mta-sts.{domain}"]

    def options(self, folder: Path, changes: Changes = AS_IT_IS) -> dict[str, object]:
        """A configuration as YAML has it: files and sockets in `folder`, sections as changed."""
        sections: dict[str, Mapping[str, object]] = {
            "cache": {"path": str(folder / "policies.db")},
            "control": {"path": str(folder / "control.sock")},
            "dns": {"nameservers": [self.dns.address]},
            "dane": {"mode": "off"},  # else the Postfix of this machine would be asked
            "https": {"ca_file": str(self.ca_file), "allow_private_addresses": True},
            "lookup": {"timeout": "50s"},  # enough for a busy machine, less than a test waits
        }
        for name, section in changes.items():
            sections[name] = {**sections.get(name, {}), **section}
        listeners: list[dict[str, object]] = [
            {"socketmap": f"unix:{folder / SOCKETMAP}"},
            {"tcp_table": f"unix:{folder / TCP_TABLE}"},
            {"tcp_table": f"unix:{folder / TCP_TABLE_TLSRPT}", "tlsrpt": True},
        ]
        return {"listen": listeners, **sections}

    def settings(self, folder: Path, changes: Changes = AS_IT_IS) -> Settings:
        """The same as settings."""
        return config.parse(json.dumps(self.options(folder, changes)), "test")

    def config(self, folder: Path, changes: Changes = AS_IT_IS) -> Path:
        """The same as a file, for a process that is led by the proxy."""
        led = {**changes, "https": {"proxy": self.proxy.url, **changes.get("https", {})}}
        path = folder / "config.yml"
        path.write_text(json.dumps(self.options(folder, led)))  # JSON is YAML
        return path


@asynccontextmanager
async def internet(folder: Path) -> AsyncIterator[Internet]:
    """An Internet in which nothing is published yet; the CA's file is put into `folder`."""
    async with (
        DnsServer() as dns,
        PolicyHost(authority()) as hosts,
        ConnectProxy(hosts.port) as proxy,
    ):
        yield Internet(dns, hosts, proxy, authority().write(folder))
