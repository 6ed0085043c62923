"""What smtp(8) demands of one MX host: the TLS level, and which certificates fit.

Follows smtp_tls_policy.c and tls_client.c in Postfix's sources.
"""

import re
from collections.abc import Sequence
from typing import Final

from postfix_mta_sts.mtasts.dane import HostState
from postfix_mta_sts.network.mail_hosts_values import MailHosts, MxHost
from postfix_mta_sts.network.smtp.values import TlsaRecord
from postfix_mta_sts.postfix.smtp_client.tls_policy import NO_NAME
from postfix_mta_sts.postfix.smtp_client.values import (
    InvalidTlsPolicy,
    Level,
    MainCf,
    NextHop,
    TlsPolicy,
)
from postfix_mta_sts.postfix.smtp_client.words import Words, say
from postfix_mta_sts.values import Value, replace

MATCHED: Final = frozenset(
    {Level.DANE, Level.DANE_ONLY, Level.FINGERPRINT, Level.VERIFY, Level.SECURE}
)
"""Levels at which a certificate must fit."""
NAMED: Final = frozenset({Level.VERIFY, Level.SECURE})
"""Levels at which its names are compared with those of the policy."""
DANE: Final = frozenset({Level.DANE, Level.DANE_ONLY})
"""Levels at which TLSA records are looked up."""

_VERIFY_MATCH: Final = "hostname"
"""The default of smtp_tls_verify_cert_match (postconf(5))."""
_PRIVATE_MATCHING: Final = 255
"""Reserved in Postfix for fingerprints (tls_dane.c)."""
_CONFIGURATION: Final = say("4.7.5", "client TLS configuration problem")
_NO_LEVEL: Final = say("4.3.0", "unknown mail transport error")
"""What qmgr(8) says when smtp(8) cannot start."""


class Demand(Value, frozen=True):
    """What an MX host must fulfil."""

    level: Level
    names: tuple[str, ...] = ()
    """At levels verify and secure: references as in `names.identity`."""
    sni: str | None = None
    """With a refusal, the name that RFC 8461 §7.1 wants."""
    tlsa: tuple[TlsaRecord, ...] = ()
    tlsa_names: tuple[str, ...] = ()
    is_half_dane: bool = False
    """The MX RRset is not signed: Postfix does not call the session verified."""
    refusal: Words | None = None
    """Why smtp(8) does not connect."""
    is_skipped: bool = False
    """The host's name fits no mx pattern: smtp(8) does not connect, and says nothing."""
    is_known: bool = True
    """False: what the signed DNS says of the host is not known."""


def main_level(main_cf: MainCf) -> Level | None:
    """smtp_tls_security_level; None: smtp(8) cannot start with this value."""
    try:
        return Level(main_cf.smtp_tls_security_level.lower() or Level.NONE)
    except ValueError:
        return None


def uses_dnssec(main_cf: MainCf) -> bool:
    """Whether smtp(8) looks at DNSSEC, without which there is no DANE."""
    return main_cf.smtp_dns_support_level.lower() == "dnssec"


def nominal_level(policy: TlsPolicy | InvalidTlsPolicy | None, main_cf: MainCf) -> Level:
    """The level of the policy, or that of main.cf."""
    if isinstance(policy, TlsPolicy):
        return policy.level
    return main_level(main_cf) or Level.NONE


def demand(
    host: MxHost,
    next_hop: NextHop,
    found: MailHosts,
    policy: TlsPolicy | InvalidTlsPolicy | None,
    main_cf: MainCf,
) -> Demand:
    """What smtp(8) demands of an MX host, before it connects."""
    level = nominal_level(policy, main_cf)
    if main_level(main_cf) is None:
        return Demand(level, refusal=_NO_LEVEL, is_known=False)
    if isinstance(policy, InvalidTlsPolicy):
        return Demand(level, sni=host.name, refusal=_CONFIGURATION)
    if level in DANE:
        wanted = _by_dane(level, host, next_hop, found, main_cf)
    else:
        names = _names(level, host, next_hop, policy, main_cf) if level in NAMED else ()
        wanted = Demand(level, names=names)
    if wanted.refusal:
        wanted = replace(wanted, sni=host.name)
    elif wanted.level is not Level.NONE and wanted.sni is None:
        wanted = replace(wanted, sni=_sni(host, next_hop, policy, main_cf))
    patterns = policy.patterns if policy else ()
    return replace(wanted, is_skipped=bool(patterns) and not _fits(host.name, patterns))


def _fits(name: str, patterns: Sequence[str]) -> bool:
    """match_sts_mx_host_pattern(): `*.` stands for one label."""
    name = name.lower()
    label, _, parent = name.partition(".")
    known = {pattern.lower() for pattern in patterns}
    return name in known or bool(label and parent and f"*.{parent}" in known)


def _sni(host: MxHost, next_hop: NextHop, policy: TlsPolicy | None, main_cf: MainCf) -> str | None:
    servername = (policy.servername if policy else "") or main_cf.smtp_tls_servername
    return {"": None, "hostname": host.name, "nexthop": next_hop.host}.get(servername, servername)


def _names(
    level: Level, host: MxHost, next_hop: NextHop, policy: TlsPolicy | None, main_cf: MainCf
) -> tuple[str, ...]:
    """The references for a certificate's names."""
    default = main_cf.smtp_tls_secure_cert_match if level is Level.SECURE else _VERIFY_MATCH
    match = (policy.match if policy else ()) or tuple(re.split("[, \t\r\n:]+", default))
    known = {
        "nexthop": next_hop.host,
        "dot-nexthop": f".{next_hop.host}",
        "hostname": host.name,
    }
    return tuple(known.get(name.lower(), name) for name in match if name not in {"", NO_NAME})


def _by_dane(
    level: Level, host: MxHost, next_hop: NextHop, found: MailHosts, main_cf: MainCf
) -> Demand:
    """dane_init(), and what OpenSSL makes of the TLSA records."""
    if not uses_dnssec(main_cf):
        return _without_dane(level, _CONFIGURATION)
    is_insecure = not found.implicit and not found.mx_is_secure
    insecure_level = _insecure_mx_level(main_cf)
    if is_insecure and (level is Level.DANE_ONLY or insecure_level is Level.MAY):
        return _without_dane(level, say("4.7.5", "non DNSSEC destination"))
    state = host.dane.state if host.dane else None
    if state is HostState.FAILED:
        text = f"TLSA lookup error for {host.name}:{next_hop.port}"
        return Demand(level, refusal=say("4.7.5", text))
    if state is HostState.USABLE or (state is HostState.UNUSABLE and _loaded(host)):
        return _with_tlsa(level, host, next_hop, found, is_insecure=is_insecure, main_cf=main_cf)
    if state is HostState.UNUSABLE:
        return _without_dane(level, say("4.7.5", "TLSA records unusable"), Level.ENCRYPT)
    missing = _without_dane(level, say("4.7.5", "no TLSA records found"))
    return replace(missing, is_known=state in {HostState.ABSENT, HostState.INSECURE})


def _with_tlsa(
    level: Level,
    host: MxHost,
    next_hop: NextHop,
    found: MailHosts,
    *,
    is_insecure: bool,
    main_cf: MainCf,
) -> Demand:
    """The host has TLSA records that Postfix loads; OpenSSL may still find none usable."""
    if is_insecure and _insecure_mx_level(main_cf) is Level.ENCRYPT:
        return Demand(Level.ENCRYPT)
    dane = host.dane
    base = (dane.base if dane else "") or host.name
    through_mx = () if found.implicit else (*found.aliases[-1:], next_hop.host)
    is_usable = dane is not None and dane.state is HostState.USABLE
    return Demand(
        level=level if is_usable or level is Level.DANE_ONLY else Level.ENCRYPT,
        sni=base,
        tlsa=dane.records if dane else (),
        tlsa_names=tuple(dict.fromkeys((base, *through_mx))),
        is_half_dane=is_insecure,
    )


def _without_dane(level: Level, words: Words, otherwise: Level = Level.MAY) -> Demand:
    """dane_incompat(): level dane-only fails, level dane is lowered."""
    if level is Level.DANE_ONLY:
        return Demand(level, refusal=words)
    return Demand(otherwise)


def _loaded(host: MxHost) -> bool:
    """Whether parse_tlsa_rr() takes a record, though OpenSSL finds it unusable."""
    records = host.dane.records if host.dane else ()
    return any(
        each.usage in {2, 3} and each.matching != _PRIVATE_MATCHING and each.data
        for each in records
    )


def _insecure_mx_level(main_cf: MainCf) -> Level:
    """smtp_tls_dane_insecure_mx_policy.

    Its default was an expression before 3.7.13, 3.8.8, 3.9.2 and 3.10, and is not evaluated here
    if it came as such: `dane` if that is the level of main.cf, else `may`.
    """
    value = main_cf.smtp_tls_insecure_mx_policy.lower()
    if value in {Level.DANE, Level.ENCRYPT}:
        return Level(value)
    is_expression = "{" in value and main_level(main_cf) is Level.DANE
    return Level.DANE if is_expression else Level.MAY
