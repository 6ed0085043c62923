"""Mistakes in the MX records, and in a valid policy that does not go with them."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from postfix_mta_sts.mtasts.domain import Domain, ends_in_number, parse_host
from postfix_mta_sts.mtasts.errors import InvalidDomainError, InvalidPolicyError, printable
from postfix_mta_sts.mtasts.mistakes.policy_line import USUAL_MAX_AGE, meant_name
from postfix_mta_sts.mtasts.mistakes.values import NEXT_LINE, MailName, Mistake, Place, Seen
from postfix_mta_sts.mtasts.policy import Mode, MxPattern, Policy, can_match, parse_policy

SHORT_MAX_AGE: Final = 3600
"""Seconds: with less, each look-up needs the Policy Host, and an attacker has only to wait."""
_MOST: Final = 10
"""Hosts that are named."""
_LINES: Final = 100
"""Lines of a policy that are looked at for misspelt names."""


def mx_lines(seen: Seen) -> str:
    """The mx fields of a policy that names the MX hosts of the domain, as far as they are known."""
    hosts = list(dict.fromkeys(_hosts(seen)))
    if not hosts:
        return "one line for each MX host: mx: and its name"
    return NEXT_LINE.join(f"mx: {host}" for host in hosts[:_MOST])


def find_mx_mistakes(seen: Seen) -> Iterator[Mistake]:
    """Yield the mistakes of the MX records (RFC 5321 §5.1, RFC 2181 §10.3, RFC 7505)."""
    for mail_name in (seen.mx or ())[:_MOST]:
        yield from _in_mx_record(seen, mail_name)


def find_mx_pattern_mistakes(seen: Seen) -> Iterator[Mistake]:
    """Yield what keeps a valid policy from working: patterns without a host, a short max_age."""
    if seen.body is None:
        return
    try:
        policy = parse_policy(seen.body)
    except InvalidPolicyError:
        return
    if policy.mode is Mode.NONE:
        return
    yield from (_dead(seen, pattern) for pattern in policy.mx if not can_match(pattern))
    yield from _against_hosts(seen, policy)
    if policy.max_age < SHORT_MAX_AGE:
        found = f"max_age: {policy.max_age}, in seconds"
        yield Mistake("short-max-age", Place.POLICY, found, f"max_age: {USUAL_MAX_AGE}")


def _dead(seen: Seen, pattern: MxPattern) -> Mistake:
    found = f"mx: {pattern}: an IP address, which no certificate can match"
    return Mistake("mx-address", Place.POLICY, printable(found), mx_lines(seen))


def _against_hosts(seen: Seen, policy: Policy) -> Iterator[Mistake]:
    """Yield why no MX host, or a host with a misspelt field, conforms to the policy."""
    hosts = list(_hosts(seen))
    left = [host for host in hosts if not policy.allows(host)]
    if hosts and left == hosts and not policy.allows_no_host:
        code, found = _mismatch(hosts, policy)
        yield Mistake(code, Place.POLICY, found, mx_lines(seen))
    for line in policy.lines[:_LINES]:
        name, _, value = line.partition(":")
        if meant_name(name, ()) == "mx" != name and value.strip().lower() in left:
            found = f"'{printable(name)}' in place of mx"
            yield Mistake("misspelt-mx", Place.POLICY, found, f"mx: {value.strip().lower()}")


def _mismatch(hosts: Sequence[Domain], policy: Policy) -> tuple[str, str]:
    names = f"the MX hosts are {', '.join(hosts[:3])}"
    for pattern in policy.mx:
        parent = pattern.removeprefix("*.")
        below = [host for host in hosts if host.endswith(f".{parent}")]
        if below and pattern == parent:
            return "mx-no-star", f"mx: {pattern} stands for this name alone; {names}"
        if below:
            return "mx-star-depth", f"mx: {pattern}: the star stands for one label; {names}"
        if pattern != parent and parent in hosts:
            return "mx-star-of-host", f"mx: {pattern} does not stand for {parent}; {names}"
    return "mx-other-hosts", printable(f"no mx names an MX host of the domain; {names}")


def _hosts(seen: Seen) -> Iterator[Domain]:
    """The names of the MX hosts that can be in a policy; without MX records the domain's own."""
    if seen.mx is None:
        return
    for name in [each.name for each in seen.mx] or [seen.domain]:
        try:
            host = parse_host(name)
        except InvalidDomainError:
            continue
        if "." in host and not ends_in_number(host):
            yield host


def _in_mx_record(seen: Seen, mail_name: MailName) -> Iterator[Mistake]:
    name, domain = mail_name.name, seen.domain
    doubled = name.endswith(f".{domain}.{domain}")
    bare = name.removesuffix(f".{domain}")
    if not name and len(seen.mx or ()) > 1:
        found = "a null MX (.) beside other MX records"
        yield _mx("mx-record-null", found, "leave out the null MX, or all others")
    elif name and (ends_in_number(name) or ":" in name or re.fullmatch(r"[0-9.]+", bare)):
        write = _record(seen, mail_name, f"mail.{domain}")
        yield _mx("mx-record-address", f"an IP address as MX host: {printable(name)}", write)
    elif doubled:
        found = f"{printable(name)}: the domain twice, because the final dot is missing"
        yield _mx("mx-record-doubled", found, _record(seen, mail_name, bare))
    elif mail_name.aliases:
        target = printable(mail_name.aliases[-1], 253)
        found = f"the MX host {printable(name)} is a CNAME to {target} (RFC 2181 section 10.3)"
        yield _mx("mx-record-alias", found, _record(seen, mail_name, target))
    elif name and "." not in name:
        write = _record(seen, mail_name, f"{printable(name)}.{domain}")
        yield _mx("mx-record-single-label", f"not a full host name: {printable(name)}", write)


def _record(seen: Seen, mail_name: MailName, host: str) -> str:
    return f"{seen.domain}. IN MX {mail_name.preference} {host}."


def _mx(code: str, found: str, write: str) -> Mistake:
    return Mistake(code, Place.MX, found, printable(write, 400))
