"""Convert an `Explanation`, also an unfinished one, to text and to plain data for JSON.

Values from the network have been made printable where they entered the program, except the lines of
the policy file, which are made printable here.
"""

from collections.abc import Iterator

from postfix_mta_sts.admin.explain import Explanation
from postfix_mta_sts.mtasts.errors import InvalidPolicyError, MtaStsError, printable
from postfix_mta_sts.network.dane import PENDING
from postfix_mta_sts.network.trace import FetchTrace

_LINES_LIMIT = 200
"""Lines of a policy file that are shown: 64 KiB could all be line ends."""


def as_lines(seen: Explanation) -> Iterator[str]:
    """Yield the steps so far in their order, one per line, for a terminal.

    A line that was yielded does not change later, except the address while several are tried.
    """
    yield seen.domain
    for text in seen.texts or ():
        yield f'  record    {seen.record_name} {seen.ttl} TXT "{text}"'
    if seen.policy_id:
        yield f"  id        {seen.policy_id}"
    if seen.trace:
        yield from _trace_lines(seen.trace)
        if seen.body is not None or seen.error or seen.interrupted:
            yield from _status_lines(seen.trace)
    if seen.body is not None:
        yield from _body_lines(seen.body, seen.error)
    if seen.error:
        yield f"  {'none' if seen.unprotected else 'failure':9} {_reason(seen)}"
    yield from _dane_lines(seen)
    if seen.reply is not None and seen.reply_tlsrpt is not None:
        yield f"  Postfix   {seen.reply}"
        # It contains the text of the policy, which may be in any script.
        yield f"  TLSRPT    {printable(seen.reply_tlsrpt, len(seen.reply_tlsrpt))}"
    if seen.interrupted:
        yield f"  interrupted while waiting for {waiting_for(seen)}"


def waiting_for(seen: Explanation) -> str:
    """Return what the look-up is waiting for, in words."""
    waits = []
    if not seen.policy and not seen.error:
        waits.append(_waiting_for_policy(seen))
    if not seen.dane and not seen.dane_skipped:
        waits.append("the DANE records")
    return " and ".join(waits) or "nothing"


def _waiting_for_policy(seen: Explanation) -> str:
    trace = seen.trace
    if not trace:
        return "the TXT record"
    if not trace.address:
        return f"the addresses of mta-sts.{seen.domain}"
    if not trace.tls_version:
        return f"a TLS connection to {trace.address}"
    if trace.status is None:
        return f"the response of {trace.address}"
    return f"the rest of the policy, after {trace.size or 0} bytes"


def as_dict(seen: Explanation) -> dict[str, object]:
    """Return the steps as plain data for JSON; None for steps that were not reached."""
    policy = seen.policy
    return {
        "domain": seen.domain,
        "record": {"name": seen.record_name, "ttl": seen.ttl, "texts": seen.texts},
        "id": seen.policy_id,
        "https": _trace_dict(seen.trace) if seen.trace else None,
        "body": None if seen.body is None else seen.body.decode("utf-8", "backslashreplace"),
        "policy": policy
        and {
            "mode": policy.mode,
            "mx": list(policy.mx),
            "max_age": policy.max_age,
        },
        "error": seen.error and _error_dict(seen.error),
        "dane": _dane_dict(seen),
        "reply": {"plain": seen.reply, "tlsrpt": seen.reply_tlsrpt},
        "interrupted_while_waiting_for": waiting_for(seen) if seen.interrupted else None,
    }


def _trace_lines(trace: FetchTrace) -> Iterator[str]:
    yield f"  policy    {trace.url}"
    if trace.address:
        yield f"  address   {trace.address}"
    if trace.tls_version:
        yield f"  TLS       {trace.tls_version}"
    if cert := trace.certificate:
        yield f"  cert      {', '.join(cert.names)}"
        yield f"  issuer    {cert.issuer}; valid until {cert.not_after}"


def _status_lines(trace: FetchTrace) -> Iterator[str]:
    if trace.status is not None:
        size = None if trace.size is None else f"{trace.size} bytes"
        seen = (str(trace.status), trace.media_type, size)
        yield f"  status    {', '.join(filter(None, seen))}"


def _body_lines(body: bytes, error: MtaStsError | None) -> Iterator[str]:
    wrong = error.line if isinstance(error, InvalidPolicyError) else 0
    for number, line in enumerate(body.removesuffix(b"\n").split(b"\n")[:_LINES_LIMIT], 1):
        mark = ">" if number == wrong else "|"
        text = printable(line.removesuffix(b"\r"))
        yield f"  {number:>8}{mark} {text}"


def _dane_lines(seen: Explanation) -> Iterator[str]:
    if seen.dane_skipped is not None and (seen.policy or seen.error or seen.interrupted):
        # Known at once, but no step: it comes last, however slow the policy is.
        yield f"  DANE      not checked: {seen.dane_skipped}"
    if seen.dane:
        yield f"  DANE      {seen.dane.kind}: {seen.dane.reason}"
    outcome = seen.dane or seen.dane_so_far
    for host in outcome.hosts if outcome else ():
        if seen.dane or host.step != PENDING:
            yield f"  MX host   {host.name} {host.state}: {host.step}"


def _reason(seen: Explanation) -> str:
    error = seen.error
    result = getattr(error, "result", None)
    return f"{error}" if seen.unprotected else f"{error} ({result})"


def _dane_dict(seen: Explanation) -> dict[str, object]:
    outcome = seen.dane
    return {
        "kind": outcome and outcome.kind,
        "reason": outcome.reason if outcome else seen.dane_skipped,
        "mx": outcome and {"state": outcome.mx, "step": outcome.step},
        "hosts": [
            {"name": host.name, "state": host.state, "step": host.step}
            for host in (outcome.hosts if outcome else ())
        ],
        "ttl": outcome and outcome.ttl,
    }


def _trace_dict(trace: FetchTrace) -> dict[str, object]:
    cert = trace.certificate
    return {
        "url": trace.url,
        "address": trace.address,
        "tls": trace.tls_version,
        "certificate": cert
        and {"names": cert.names, "issuer": cert.issuer, "not_after": cert.not_after},
        "status": trace.status,
        "media_type": trace.media_type,
        "size": trace.size,
    }


def _error_dict(error: MtaStsError) -> dict[str, object]:
    return {
        "code": error.code,
        "result": getattr(error, "result", None),
        "reason": str(error),
        "line": error.line if isinstance(error, InvalidPolicyError) else None,
    }
