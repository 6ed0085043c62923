"""Write a diagnosis for a terminal: the verdict first, then what led to it.

Pure. Each line is a label and a text, which `cli.terminal` fits to the width of the terminal. Text
that came from the network is printable already, except the lines of the policy file, which are made
printable here.
"""

from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby
from typing import Final, NamedTuple

from postfix_mta_sts.admin.diagnosis import smtp_text
from postfix_mta_sts.admin.diagnosis.values import (
    DaemonAnswer,
    DaemonState,
    DaneNow,
    Diagnosis,
    Fault,
    Fetch,
    Host,
    PolicyNow,
    PostfixHere,
    Record,
    Source,
    TlsReports,
)
from postfix_mta_sts.admin.diagnosis.words import mistake_found
from postfix_mta_sts.admin.exceptions.sentences import described
from postfix_mta_sts.admin.times import span
from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.mtasts.exceptions import PolicyException
from postfix_mta_sts.network.dane import PENDING
from postfix_mta_sts.postfix.queue import Waiting

_POLICY_STRING: Final = " { policy_string ="
_LINES_LIMIT: Final = 200
"""Lines of a policy file that are shown: 64 KiB could all be line ends."""
_FAULTS: Final = {
    Fault.THEIRS: "theirs",
    Fault.YOURS: "yours",
    Fault.NETWORK: "the network's",
    Fault.NOBODY: "nobody's",
}
_STATES: Final = {
    DaemonState.NOT_RUNNING: "does not run",
    DaemonState.DENIED: "may not be asked by this user",
    DaemonState.FAILED: "did not answer",
}


class Line(NamedTuple):
    """One line: what it is about, and the text."""

    label: str
    text: str


def summary(diagnosis: Diagnosis) -> Iterator[Line]:
    """Yield whose fault it is, what to do, and what waits; the sentence comes before them."""
    verdict = diagnosis.verdict
    if verdict.fault is not Fault.NOBODY:
        yield Line("fault", _FAULTS[verdict.fault])
    for advice in verdict.advice:
        yield Line("do", advice)
    for instead, mistakes in groupby(diagnosis.mistakes, lambda mistake: mistake.write):
        yield from (Line("mistake", mistake_found(each)) for each in mistakes)
        yield Line("instead", instead)
    if diagnosis.waiting and diagnosis.postfix.version:
        yield from _waiting_lines(diagnosis.waiting, diagnosis.asked_at)
    if diagnosis.waited_for:
        yield Line("stopped", f"while waiting for {' and '.join(diagnosis.waited_for)}")


def details(diagnosis: Diagnosis) -> Iterator[Line]:
    """Yield what was found, in the order in which mail takes its way."""
    if diagnosis.daemon.state is not DaemonState.NOT_ASKED:
        yield from _reply_lines(diagnosis)
        yield from _daemon_lines(diagnosis.daemon, diagnosis.asked_at)
    if diagnosis.network:
        yield from _policy_lines(diagnosis.network)
    yield from _dane_lines(diagnosis.dane)
    if diagnosis.mail_hosts and diagnosis.mail_hosts.aliases:
        yield Line("alias", _chain(diagnosis.key, diagnosis.mail_hosts.aliases))
    for host in diagnosis.hosts:
        yield from _host_lines(host, has_policy=_has_policy(diagnosis))
    yield from (Line(*line) for line in smtp_text.lines(diagnosis))
    yield from _postfix_lines(diagnosis.postfix)
    if diagnosis.words:
        yield Line("probed", smtp_text.words(diagnosis.words))
    if diagnosis.tlsrpt:
        yield from _tlsrpt_lines(diagnosis.tlsrpt)


def _waiting_lines(waiting: Waiting, now: int) -> Iterator[Line]:
    if waiting.error:
        yield Line("waiting", f"not known: {waiting.error}")
    if waiting.messages:
        number = f"{waiting.messages} message{'' if waiting.messages == 1 else 's'}"
        oldest = f", the oldest for {span(now - waiting.oldest)}" if waiting.oldest else ""
        yield Line("waiting", f"{number}{oldest}")
    elif not waiting.error:
        yield Line("waiting", "no message in the queue")
    for reason in waiting.reasons:
        yield Line("", reason)


def _reply_lines(diagnosis: Diagnosis) -> Iterator[Line]:
    if diagnosis.reply is not None:
        yield Line("answer", _shortened(diagnosis.reply))
    if diagnosis.postfix.map_name is None:  # it is not known which map counts
        yield from _other_replies(diagnosis)
    for table in diagnosis.postfix.tables:
        if table.found is not None and not table.is_ours:
            yield Line("table", f"{table.name} has {table.key}: {table.found}")
        if table.error:
            yield Line("table", f"{table.name}: {table.error}")
    yield Line("in force", _source(diagnosis))


def _other_replies(diagnosis: Diagnosis) -> Iterator[Line]:
    names: defaultdict[str, list[str]] = defaultdict(list)
    for name, reply in diagnosis.replies:
        if reply != diagnosis.reply:
            names[reply].append(name)
    for reply, others in names.items():
        yield Line("", f"in {', '.join(others)}: {_shortened(reply)}")


def _shortened(reply: str) -> str:
    """A reply without the lines of the policy, which may be in any script; JSON has all of it."""
    text, found, _ = reply.partition(_POLICY_STRING)
    return printable(text, len(text)) + (f"{_POLICY_STRING} ... }}" if found else "")


def _source(diagnosis: Diagnosis) -> str:
    match diagnosis.source:
        case Source.MAIN_CF:
            return "the level of main.cf: this Postfix does not ask the daemon"
        case Source.DAEMON:
            answered = diagnosis.daemon.state is DaemonState.ANSWERED
            return f"what the running daemon {'answers' if answered else 'has'}"
        case Source.TABLE:
            return "the entry of another table, which comes before the daemon's"
    state, asks = diagnosis.daemon.state, diagnosis.postfix.map_name is not None
    if asks and (diagnosis.postfix.listener_problem or state is DaemonState.NOT_RUNNING):
        return "nothing: Postfix asks the daemon, which does not answer it"
    if state is DaemonState.ANSWERED:
        return "what the network says: the daemon asks it at the next look-up"
    return f"what the network says: the daemon {_STATES[state]}"


def _daemon_lines(daemon: DaemonAnswer, now: int) -> Iterator[Line]:
    if daemon.state is not DaemonState.ANSWERED:
        yield Line("daemon", f"{daemon.reason}; exceptions of commands are not known")
        if not daemon.in_force:
            return
    if daemon.exception:
        yield Line("exception", _exception(daemon.exception, now))
    if daemon.mode is None or daemon.fetched_at is None or daemon.expires_at is None:
        yield Line("daemon", "knows no policy")
    else:
        left = daemon.expires_at - now
        until = f"expires in {span(left)}" if left > 0 else f"expired {span(-left)} ago"
        fetched = f"fetched {span(now - daemon.fetched_at)} ago"
        yield Line("daemon", f"mode {daemon.mode}, id {daemon.policy_id}, {fetched}, {until}")
    if daemon.dane:
        yield Line("", f"DANE verdict {daemon.dane}")
    if daemon.failure:
        yield Line("", f"last attempt failed: {daemon.failure}")


def _exception(exception: PolicyException, now: int) -> str:
    scope = f"for {exception.scope}: " if exception.scope.startswith("*.") else ""
    return f"{scope}{described(exception, now)}"


def _policy_lines(policy: PolicyNow) -> Iterator[Line]:
    yield from _record_lines("record", policy.record)
    if policy.policy_id:
        yield Line("id", policy.policy_id)
    if policy.fetch:
        yield from _fetch_lines(policy.fetch)
    if policy.body is not None:
        yield from _body_lines(policy.body, policy.line)
    if policy.families_differ:
        yield Line("differs", policy.families_differ)
    if policy.error:
        is_none = policy.error == "no-record"
        text = f"none: {policy.reason}" if is_none else f"{policy.reason} ({policy.result})"
        yield Line("record" if is_none else "failure", text)


def _record_lines(label: str, record: Record) -> Iterator[Line]:
    if record.aliases:
        yield Line("alias", _chain(record.name, record.aliases))
    for text in record.texts or ():
        yield Line(label, f'{record.name} {record.ttl} TXT "{text}"')


def _fetch_lines(fetch: Fetch) -> Iterator[Line]:
    if fetch.url:
        yield Line("policy", fetch.url)
    if fetch.address:
        yield Line("address", fetch.address)
    if fetch.tls:
        yield Line("TLS", fetch.tls)
    if cert := fetch.certificate:
        yield Line("cert", ", ".join(cert.names))
        yield Line("issuer", f"{cert.issuer}; valid until {cert.not_after}")
    if fetch.status is not None:
        size = None if fetch.size is None else f"{fetch.size} bytes"
        found = (str(fetch.status), fetch.media_type, size)
        to = f" to {fetch.location}" if fetch.location else ""
        yield Line("status", ", ".join(filter(None, found)) + to)


def _body_lines(body: str, wrong: int | None) -> Iterator[Line]:
    for number, line in enumerate(body.removesuffix("\n").split("\n")[:_LINES_LIMIT], 1):
        mark = ">" if number == wrong else "|"
        yield Line(f"{number:>8}{mark}", printable(line.removesuffix("\r")))


def _dane_lines(dane: DaneNow) -> Iterator[Line]:
    if dane.kind is None:
        yield Line("DANE", f"not checked: {dane.reason}")
    else:
        yield Line("DANE", f"{dane.kind}: {dane.reason}")
    for host in dane.hosts:
        if host.step != PENDING:
            yield Line("", f"{host.name} {host.state}: {host.step}")


def _host_lines(host: Host, *, has_policy: bool) -> Iterator[Line]:
    fits = f", fits {host.pattern}" if host.pattern else ", fits no mx pattern"
    addresses = " ".join(host.addresses) or host.reason
    yield Line("MX", f"{host.preference} {host.name} {addresses}{fits if has_policy else ''}")
    if host.aliases:
        yield Line("alias", _chain(host.name, host.aliases))


def _has_policy(diagnosis: Diagnosis) -> bool:
    return diagnosis.daemon.in_force or bool(diagnosis.network and diagnosis.network.mode)


def _postfix_lines(postfix: PostfixHere) -> Iterator[Line]:
    if postfix.version is None:
        what = "; ".join(postfix.notes) or "none on this machine"
        yield Line("Postfix", f"{what}; assumed to be set up as the README says")
        return
    asks = f"asks map {postfix.map_name}" if postfix.map_name else "does not ask the daemon"
    level = postfix.level or "none"
    yield Line(
        "Postfix", f"{postfix.version}, level {level}, {asks}; CA certificates: {postfix.ca}"
    )
    for note in postfix.notes:
        yield Line("", note)


def _tlsrpt_lines(tlsrpt: TlsReports) -> Iterator[Line]:
    yield from _record_lines("TLSRPT", tlsrpt.record)
    if tlsrpt.record.texts is None:
        yield Line("TLSRPT", f"none: {tlsrpt.record.reason}")
    elif tlsrpt.error:
        yield Line("", tlsrpt.error)


def _chain(name: str, aliases: tuple[str, ...]) -> str:
    return " -> ".join((name, *aliases))
