"""Read a next-hop as Postfix writes it, and name the keys that smtp(8) looks up for it.

Follows host_port() in Postfix's sources, and smtp_tls_policy.c. Service names
are those of known_tcp_ports; /etc/services is not read.
"""

import ipaddress
import re
from collections.abc import Mapping
from typing import Final

from postfix_mta_sts.mtasts.errors import InvalidDomainError, printable
from postfix_mta_sts.mtasts.idn import to_a_labels
from postfix_mta_sts.network.smtp.host_names import is_address, is_host_name
from postfix_mta_sts.network.smtp.values import SMTP_PORT
from postfix_mta_sts.postfix.smtp_client.values import NextHop

# [host], [host]:port, [IPv6:address]:port; host, host:port. The port may be empty.
_BRACKETS: Final = re.compile(
    r"\[(?P<ipv6>ipv6:)?(?P<host>[^\[\]]+)\](?::(?P<port>[^:\[\]]*))?", re.IGNORECASE
)
_PLAIN: Final = re.compile(r"(?P<host>[^:\[\]]+)(?::(?P<port>[^:\[\]]*))?")

_SERVICES: Final[Mapping[str, int]] = {
    "lmtp": 24,
    "smtp": SMTP_PORT,
    "smtps": 465,
    "submissions": 465,
    "submission": 587,
}
"""The default of known_tcp_ports (postconf(5))."""


def parse_next_hop(key: str) -> NextHop:
    """Read a destination: `example.com`, `example.com:587`, `[mx.example.com]`, `[IPv6:::1]`.

    A final dot is dropped, as Postfix does with the domain of a recipient. Raises
    `InvalidDomainError` for what smtp(8) does not take, and for a service that is not in
    known_tcp_ports.
    """
    form = _BRACKETS.fullmatch(key) or _PLAIN.fullmatch(key)
    if not form:
        raise InvalidDomainError(f"not a destination: '{printable(key)}'")
    name = form["host"].removesuffix(".")
    host = _host(name, is_ipv6=form.re is _BRACKETS and form["ipv6"] is not None)
    start, end = form.start("host"), form.end("host")
    return NextHop(
        text=key[:start] + name + key[end:],
        host=host,
        port=_port(form["port"]),
        has_mx=form.re is _PLAIN and not is_address(host),
    )


def policy_keys(next_hop: NextHop) -> tuple[str, ...]:
    """The keys that smtp(8) looks up in smtp_tls_policy_maps, in order, until one is found.

    Only a plain name has parents. The keys are as written; tables with fixed keys, such as hash,
    fold them to lower case themselves (DICT_FLAG_FOLD_FIX), socketmap and tcp do not.
    """
    name = next_hop.text
    if not _is_plain_name(name):
        return (name,)
    dots = (index for index, letter in enumerate(name) if letter == "." and index)
    return (name, *(name[index:] for index in dots))


def _is_plain_name(name: str) -> bool:
    try:
        return is_host_name(to_a_labels(name))
    except InvalidDomainError:
        return False


def _host(name: str, *, is_ipv6: bool) -> str:
    if is_address(name):
        address = ipaddress.ip_address(name)
        if not is_ipv6 or address.version == 6:
            return str(address)
    host = to_a_labels(name).removesuffix(".").lower()  # another dot, such as U+3002
    if is_ipv6 or name.endswith(".") or not is_host_name(host):
        what = "an IPv6 address" if is_ipv6 else "a host name or an IP address"
        raise InvalidDomainError(f"not {what}: '{printable(name)}'")
    return host


def _port(service: str | None) -> int:
    if not service:
        return SMTP_PORT
    port = _SERVICES.get(service)
    if port is None and re.fullmatch(r"[0-9]{1,9}", service):
        port = int(service)
    if port is None or not 0 < port < 2**16:
        raise InvalidDomainError(f"not a port: '{printable(service)}'")
    return port
