"""Look up the policy of a domain now, as the daemon does, and keep each step."""

import asyncio
from contextlib import suppress
from typing import Final

from postfix_mta_sts.admin.diagnosis.evidence import PolicyFindings
from postfix_mta_sts.admin.diagnosis.values import Record
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import (
    DeadlineError,
    DnsFailureError,
    MtaStsError,
    NoRecordError,
    StatusError,
    printable,
)
from postfix_mta_sts.mtasts.policy import parse_policy
from postfix_mta_sts.mtasts.record import parse_records, record_name
from postfix_mta_sts.network.dns import DnsClient, TxtAnswer
from postfix_mta_sts.network.https import PolicyFetcher
from postfix_mta_sts.network.trace import FetchTrace

NEAR_PATHS: Final = ("/mta-sts.txt", "/well-known/mta-sts.txt", "/.well-known/mta-sts")
"""Where a policy file is put by mistake."""
_NOT_THERE: Final = frozenset({404, 410})
_TEXTS_LIMIT: Final = 20
"""TXT records of a name that are shown."""


async def look_up_policy(
    findings: PolicyFindings, domain: Domain, dns: DnsClient, fetcher: PolicyFetcher, seconds: float
) -> None:
    """Fill in the findings: the TXT record, the GET and the policy, or the error that ended it."""
    try:
        async with asyncio.timeout(seconds):
            await _look_up(findings, domain, dns, fetcher)
    except TimeoutError:
        findings.error = _late(findings.trace, seconds)
        name = record_name(domain)
        findings.record = findings.record or Record(name, None, reason=str(findings.error))
    except MtaStsError as error:
        findings.error = error


async def find_misplaced(
    domain: Domain, findings: PolicyFindings, fetcher: PolicyFetcher, seconds: float
) -> str | None:
    """Return the path of `NEAR_PATHS` at which there is a policy, if the right one has none."""
    status = findings.trace.status if findings.trace else None
    if not isinstance(findings.error, StatusError) or status not in _NOT_THERE:
        return None
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            for path in NEAR_PATHS:
                with suppress(MtaStsError):
                    parse_policy(await fetcher.fetch_body(domain, path=path))
                    return path
    return None


async def look_up_record(name: str, dns: DnsClient) -> tuple[Record, TxtAnswer | None]:
    """Query TXT records, as a value that also tells why there are none."""
    try:
        answer = await dns.look_up_texts(name)
    except MtaStsError as error:
        return _missing(name, error), None
    return _record(name, answer), answer


async def _look_up(
    findings: PolicyFindings, domain: Domain, dns: DnsClient, fetcher: PolicyFetcher
) -> None:
    name = record_name(domain)
    try:
        answer = await dns.look_up_txt(domain)
    except MtaStsError as error:
        findings.record = _missing(name, error)
        raise
    findings.record, findings.texts = _record(name, answer), answer.texts
    findings.policy_id = parse_records(answer.texts)
    findings.trace = FetchTrace()
    findings.body = await fetcher.fetch_body(domain, findings.trace)
    findings.policy = parse_policy(findings.body)


def _record(name: str, answer: TxtAnswer) -> Record:
    texts = tuple(map(printable, answer.texts[:_TEXTS_LIMIT]))
    return Record(name, texts, answer.ttl, answer.aliases)


def _missing(name: str, error: MtaStsError) -> Record:
    aliases = error.aliases if isinstance(error, NoRecordError) else ()
    return Record(name, None, aliases=aliases, reason=str(error))


def _late(trace: FetchTrace | None, seconds: float) -> MtaStsError:
    if trace is None:
        return DnsFailureError(f"no answer within {seconds:g} s")
    return DeadlineError(f"not finished within {seconds:g} s ({trace.phase}); the daemon waits on")
