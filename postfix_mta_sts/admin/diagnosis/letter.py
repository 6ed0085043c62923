"""Write the text that an administrator forwards to the postmaster of the other side.

Pure. It says what was seen, when and where, and what to write instead; nothing of this machine's
own settings, and nothing that is only ours to mend.
"""

import textwrap
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Final

from postfix_mta_sts.admin.diagnosis.values import Diagnosis, Fault, Fetch, Flow
from postfix_mta_sts.admin.diagnosis.words import mistake_found, names_of
from postfix_mta_sts.admin.times import day, moment
from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.mtasts.mistakes import NEXT_LINE, Mistake, Place
from postfix_mta_sts.network.smtp.values import FailureKind, ProbeResult, by_address
from postfix_mta_sts.postfix.smtp_client.values import HostOutcome

_WIDTH: Final = 72
_EFFECT: Final = {
    Flow.HELD: "Until this is corrected, we keep mail for you and try again; after some days it "
    "goes back to its senders.",
    Flow.TESTING: "Your policy is in mode testing, so mail is delivered in spite of this; in mode "
    "enforce it would be held.",
    Flow.UNPROTECTED: "Mail is delivered, but without the protection that you intend.",
    Flow.POLICY: "Mail is delivered by the policy that we have kept, until that expires.",
}
_RFC_8461: Final = (
    "RFC 8461 (SMTP MTA Strict Transport Security) describes how it should be: the TXT record in "
    "section 3.1, the policy file in 3.2, the web server that has it in 3.3, the certificates of "
    "mail servers in 4.2."
)
_RFC_5321: Final = (
    "RFC 5321 (SMTP) describes how mail servers are found, in section 5, and how they answer, in "
    "section 4."
)
_NOT_OF_TLS: Final = frozenset({"no-mail-host", "loop", "connection-refused", "conversation"})
"""Causes that have nothing to do with the policy."""
_RFC_7672: Final = (
    "RFC 7672 (DANE for SMTP) describes how certificates and TLSA records belong together, in "
    "section 3."
)
_RFC_8460: Final = "RFC 8460 (SMTP TLS Reporting) describes this record in section 3."


def has_letter(diagnosis: Diagnosis) -> bool:
    """Whether there is something that the other side can correct."""
    return _is_theirs(diagnosis) or bool(diagnosis.mistakes)


def letter(diagnosis: Diagnosis) -> str:
    """Return the text, with a subject; lines have at most 72 characters, except what is quoted."""
    domain = printable(diagnosis.domain or diagnosis.key)
    parts = [
        f"To: postmaster@{domain}",
        f"Subject: Mail to {domain}: {_subject(diagnosis)}",
        *_section(
            f"Hello, our mail server finds a problem with {_topic(diagnosis, domain)}. This is "
            f"what it saw on {moment(diagnosis.asked_at)}:"
        ),
        *(_verdict(diagnosis) if _is_theirs(diagnosis) else ()),
        *_list("What we found", [_wrapped(each, "  - ") for each in _findings(diagnosis)]),
        *_list("What to correct", list(_corrections(diagnosis.mistakes))),
        *_section(_standard(diagnosis)),
    ]
    return "\n".join(parts).rstrip() + "\n"


def _topic(diagnosis: Diagnosis, domain: str) -> str:
    if _is_about_reports(diagnosis):
        return f"the TLSRPT record of {domain}; mail is not affected"
    return f"mail to {domain}"


def _is_theirs(diagnosis: Diagnosis) -> bool:
    return diagnosis.verdict.fault is Fault.THEIRS


def _is_about_reports(diagnosis: Diagnosis) -> bool:
    places = {mistake.place for mistake in diagnosis.mistakes}
    return not _is_theirs(diagnosis) and places == {Place.TLSRPT}


def _is_about_dane(diagnosis: Diagnosis) -> bool:
    return _is_theirs(diagnosis) and diagnosis.verdict.cause in {"dane", "dane-mismatch"}


def _standard(diagnosis: Diagnosis) -> str:
    """The document that says how it should be."""
    if _is_about_dane(diagnosis):
        return _RFC_7672
    if diagnosis.verdict.cause in _NOT_OF_TLS and not diagnosis.mistakes:
        return _RFC_5321
    return _RFC_8460 if _is_about_reports(diagnosis) else _RFC_8461


def _subject(diagnosis: Diagnosis) -> str:
    if _is_about_reports(diagnosis):
        return "a problem with your TLSRPT record"
    if _is_theirs(diagnosis) and diagnosis.verdict.flow in {Flow.HELD, Flow.BOUNCED}:
        return "it cannot be delivered"
    if _is_about_dane(diagnosis):
        return "a problem with your TLSA records"
    return "a problem with your MTA-STS policy"


def _verdict(diagnosis: Diagnosis) -> list[str]:
    """What happens to mail, and what follows; not what is only this machine's fault."""
    verdict = diagnosis.verdict
    effect = _EFFECT.get(verdict.flow, "")
    if verdict.flow is Flow.POLICY and not _is_by_what_is_kept(diagnosis):
        effect = ""  # the policy is there; a host has a problem
    return [*_section(f"{verdict.sentence}."), *_section(effect)]


def _is_by_what_is_kept(diagnosis: Diagnosis) -> bool:
    """Whether the domain does not give the policy any more, or gives another one."""
    now, kept = diagnosis.network, diagnosis.daemon
    return bool(now and (now.error or (kept.in_force and now.mx != kept.mx)))


def _findings(diagnosis: Diagnosis) -> Iterator[str]:
    network = diagnosis.network
    if network and network.error and (network.record.texts or network.error != "no-record"):
        yield f"policy: {network.reason}"
        yield from (f"TXT record of {network.record.name}: {t}" for t in network.record.texts or ())
        if network.fetch:
            yield from _fetch(network.fetch)
    if diagnosis.verdict.cause == "mx-without-address":
        yield from (f"MX host {each.name}: {each.reason}" for each in diagnosis.hosts)
    hosts = diagnosis.delivery.hosts if diagnosis.delivery else ()
    probes = by_address(diagnosis.probes)
    for host in hosts:
        probe = probes.get((host.host, host.address))
        if (not host.accepts or host.conforms is False) and not _is_out_of_reach(probe):
            yield from _host(host, probe)


def _fetch(fetch: Fetch) -> Iterator[str]:
    yield f"{fetch.url} at {fetch.address or 'no address'}"
    if fetch.status is not None:
        yield f"HTTP status {fetch.status}, {fetch.media_type or 'no media type'}"
    if fetch.location:
        yield f"redirect to {fetch.location}, which RFC 8461 section 3.3 forbids to follow"


def _host(host: HostOutcome, probe: ProbeResult | None) -> Iterator[str]:
    failure = probe.failure if probe else None
    wrong = host.breach or host.text or "not in the policy"
    if failure and probe and probe.tls is None:
        wrong = f"{failure.reason} (in the step {failure.phase})"
    yield f"MX host {host.host} [{host.address}]: {wrong}"
    if failure and probe and probe.tls:
        yield f"{host.host}: {failure.reason} (in the step {failure.phase})"
    if probe and probe.tls and probe.tls.tlsa and not probe.tls.tlsa.record:
        yield f"TLSA records of {host.host}: {probe.tls.tlsa.reason}"
    if probe and probe.tls and probe.tls.chain:
        leaf = probe.tls.chain[0]
        dates = f"{day(leaf.not_before)} to {day(leaf.not_after)}"
        yield f"its certificate: {names_of(leaf)}; issued by {leaf.issuer}; valid {dates}"


def _is_out_of_reach(probe: ProbeResult | None) -> bool:
    """Whether this machine has no way to an address, which is nothing that they could correct."""
    failure = probe.failure if probe else None
    return failure is not None and failure.kind is FailureKind.UNREACHABLE


def _corrections(mistakes: Iterable[Mistake]) -> Iterator[list[str]]:
    """What is there, and the lines to write, or what to do, instead."""
    for instead, some in groupby(mistakes, lambda mistake: mistake.write):
        found = [line for each in some for line in _wrapped(mistake_found(each), "  - ")]
        lines = [f"{' ' * 6}{line}" for line in instead.split(NEXT_LINE)]
        yield [*found, "    instead:", *lines]


def _section(text: str) -> list[str]:
    return ["", *_wrapped(text)] if text else []


def _list(title: str, items: list[list[str]]) -> list[str]:
    if not items:
        return []
    once = dict.fromkeys(map(tuple, items))
    return ["", f"{title}:", *(line for item in once for line in item)]


def _wrapped(text: str, start: str = "") -> list[str]:
    """Lines; what is quoted has no space to break at, and may be longer than a line."""
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=start,
        subsequent_indent=" " * len(start),
        break_long_words=False,
        break_on_hyphens=False,
    )
