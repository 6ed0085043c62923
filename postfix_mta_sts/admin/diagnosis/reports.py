"""Look up where a domain wants TLS reports (RFC 8460 §3)."""

import asyncio

from postfix_mta_sts.admin.diagnosis.policy_now import look_up_record
from postfix_mta_sts.admin.diagnosis.values import Record, TlsReports
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import MtaStsError
from postfix_mta_sts.mtasts.tlsrpt_record import parse_tlsrpt, tlsrpt_name
from postfix_mta_sts.network.dns import DnsClient


async def look_up_reports(domain: Domain, dns: DnsClient, seconds: float) -> TlsReports:
    """Return the TLSRPT record of a domain, with the error if it has one."""
    name = tlsrpt_name(domain)
    try:
        async with asyncio.timeout(seconds):
            record, answer = await look_up_record(name, dns)
    except TimeoutError:
        return TlsReports(Record(name, None, reason=f"no answer within {seconds:g} s"))
    if answer is None:
        return TlsReports(record)
    try:
        return TlsReports(record, parse_tlsrpt(answer.texts).rua, answer.texts)
    except MtaStsError as error:
        return TlsReports(record, error=str(error))
