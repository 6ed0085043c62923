"""Why Postfix connects to no address, although the MX hosts have some.

Pure. The address is this machine's own, or of a family that this Postfix does not use.
"""

import ipaddress
from typing import Final

from postfix_mta_sts.admin.diagnosis.causes import Cause
from postfix_mta_sts.admin.diagnosis.evidence import Evidence
from postfix_mta_sts.admin.diagnosis.values import Fault
from postfix_mta_sts.network.mail_hosts_values import MxHost
from postfix_mta_sts.network.smtp.host_names import is_address
from postfix_mta_sts.postfix.smtp_client.values import Delivery

_LOOPS: Final = frozenset({"5.4.6", "4.4.4"})
"""What Postfix says if the best MX host is itself (smtp_addr.c)."""
_TAKE: Final = (
    "if this machine is to take its mail, add the domain to mydestination, relay_domains or "
    "virtual_mailbox_domains in main.cf; otherwise correct its MX record"
)
_PUBLIC: Final = "its postmaster has to name an MX host that has a public address"


def cause_without_address(evidence: Evidence, delivery: Delivery) -> Cause | None:
    """Return what is behind it; None: it is something else."""
    hosts = [host for host in _hosts(evidence) if any(map(is_address, host.addresses))]
    if not hosts or delivery.hosts:
        return None
    texts = [text for host in hosts for text in host.addresses if is_address(text)]
    addresses = [ipaddress.ip_address(text) for text in texts]
    names = ", ".join(host.name for host in hosts[:3])
    if delivery.dsn in _LOOPS:
        if all(each.is_loopback for each in addresses):
            words = f"its MX host is {names}, the address of each machine for itself"
            return Cause("loop", words, Fault.THEIRS, _PUBLIC)
        words = f"its MX host {names} is this machine, which does not take its mail"
        return Cause("loop", words, Fault.YOURS, _TAKE)
    versions = {each.version for each in addresses}
    if len(versions) > 1 or evidence.main_cf.inet_protocols == "all":
        return None
    (version,) = versions
    only = evidence.main_cf.inet_protocols
    words = f"its MX hosts have only IPv{version} addresses, and inet_protocols is {only}"
    advice = f"if this machine has IPv{version}, set inet_protocols = all in main.cf"
    return Cause("address-family", words, Fault.YOURS, advice)


def _hosts(evidence: Evidence) -> tuple[MxHost, ...]:
    return evidence.mail_hosts.hosts if evidence.mail_hosts else ()
