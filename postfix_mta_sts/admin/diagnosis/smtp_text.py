"""Write what the probes found and what smtp(8) does with it, one line for each fact.

Pure; a part of `text`.
"""

from collections.abc import Iterator
from typing import Final

from postfix_mta_sts.admin.diagnosis.values import Diagnosis
from postfix_mta_sts.admin.times import day
from postfix_mta_sts.network.smtp.values import Certificate, ProbeResult, TlsSession
from postfix_mta_sts.postfix.smtp_client.values import Delivery, HostOutcome, Level, Outcome
from postfix_mta_sts.postfix.verify import PostfixWords

_BY_DANE: Final = frozenset({Level.DANE, Level.DANE_ONLY})
"""Levels with which RFC 8461 does not interfere (§2)."""


def lines(diagnosis: Diagnosis) -> Iterator[tuple[str, str]]:
    """Yield label and text."""
    for probe in diagnosis.probes:
        yield from _probe_lines(probe)
    if diagnosis.delivery:
        yield from _delivery_lines(diagnosis.delivery)


def words(said: PostfixWords) -> str:
    """What the running Postfix said."""
    if said.status is None:
        return f"Postfix did not say: {said.error}"
    return f"Postfix says {said.status} {said.dsn} at {said.relay}: {said.text}"


def _probe_lines(probe: ProbeResult) -> Iterator[tuple[str, str]]:
    target = probe.target
    yield "SMTP", f"{target.host} {target.address} port {target.port}"
    for step in probe.steps:
        yield "", f"{step.phase} {step.seconds * 1000:.0f} ms: {step.text}"
    if probe.tls:
        yield from _session_lines(probe.tls)
    if probe.failure:
        yield "", f"failed ({probe.failure.phase}): {probe.failure.reason}"
    elif probe.offers_starttls is False:
        yield "", "does not offer STARTTLS"


def _session_lines(tls: TlsSession) -> Iterator[tuple[str, str]]:
    for depth, certificate in enumerate(tls.chain):
        yield "", f"certificate {depth}: {_certificate(certificate)}"
    if tls.error:
        yield "", f"not trusted: {tls.error.reason} (certificate {tls.error.depth})"
    if tls.tlsa:
        yield "", f"TLSA: {tls.tlsa.reason}"


def _certificate(certificate: Certificate) -> str:
    names = ", ".join(certificate.dns_names) or certificate.common_name or certificate.subject
    dates = f"{day(certificate.not_before)} to {day(certificate.not_after)}"
    return f"{names}; issuer {certificate.issuer}; {dates}"


def _delivery_lines(delivery: Delivery) -> Iterator[tuple[str, str]]:
    for host in delivery.hosts:
        yield "smtp(8)", f"{host.host} {host.address}: {_host(host)}"
        if host.conforms is False and host.accepts:
            yield "RFC 8461", f"{host.host}: {host.breach}"
        if host.conforms and not host.accepts and host.level not in _BY_DANE:
            yield "RFC 8461", f"{host.host}: has nothing against this host"
    if delivery.outcome is Outcome.SENT:
        how = f"TLS {delivery.tls}" if delivery.tls else "without TLS"
        yield "message", f"sent through {delivery.host}, {how}"
    else:
        yield "message", f"{delivery.outcome} {delivery.dsn}: {delivery.text}"
    if not delivery.is_certain:
        yield "", "may be another: hosts have the same preference, or not all were probed"


def _host(host: HostOutcome) -> str:
    if host.skipped:
        return "skipped: its name fits no mx pattern"
    if host.accepts:
        how = f"TLS {host.tls}" if host.tls else "without TLS"
        return f"takes mail, {how}" + ("" if host.is_tried else "; not tried, another one takes it")
    return f"{host.dsn} {host.text}" + ("" if host.is_tried else "; not tried")
