"""Look up where a domain wants TLS reports (RFC 8460 §3)."""

import asyncio

from postfix_mta_sts.admin.diagnosis.evidence import Evidence
from postfix_mta_sts.admin.diagnosis.policy_now import look_up_record
from postfix_mta_sts.admin.diagnosis.values import Record, TlsReports
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import MtaStsError
from postfix_mta_sts.mtasts.tlsrpt_record import parse_tlsrpt, tlsrpt_name
from postfix_mta_sts.network.dns import DnsClient


async def look_up_reports(
    evidence: Evidence, domain: Domain, dns: DnsClient, seconds: float
) -> None:
    """Fill in the TLSRPT record of a domain, with the error if it has one."""
    name = tlsrpt_name(domain)
    try:
        async with asyncio.timeout(seconds):
            record, answer = await look_up_record(name, dns)
    except TimeoutError:
        record, answer = Record(name, None, reason=f"no answer within {seconds:g} s"), None
    evidence.tlsrpt = TlsReports(record)
    if answer is None:
        return
    evidence.tlsrpt_texts = answer.texts
    try:
        evidence.tlsrpt = TlsReports(record, parse_tlsrpt(answer.texts).rua)
    except MtaStsError as error:
        evidence.tlsrpt = TlsReports(record, error=str(error))
