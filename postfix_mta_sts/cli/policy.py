"""`postfix-mta-sts policy …`: show, refresh and forget policies of the running daemon."""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from postfix_mta_sts.admin.exceptions.sentences import described
from postfix_mta_sts.admin.exceptions.views import exception_of_json
from postfix_mta_sts.admin.times import NO_VALUE, ago, ahead, dated, moment, span
from postfix_mta_sts.cli import answers, history, shared_policy
from postfix_mta_sts.cli.asked import Tally, asked_since
from postfix_mta_sts.cli.domain_argument import domain_of
from postfix_mta_sts.cli.live import live
from postfix_mta_sts.cli.locate import control_client
from postfix_mta_sts.cli.parser import (
    FAILURE,
    INTERRUPTED,
    NO_POLICY,
    OK,
    CommandError,
    Commands,
    add_config,
)
from postfix_mta_sts.cli.refresh import refresh_all
from postfix_mta_sts.cli.time_argument import seconds_of
from postfix_mta_sts.mtasts.errors import NoRecordError
from postfix_mta_sts.mtasts.policy import Mode

_ATTEMPT_TIMEOUT: Final = 900.0
"""Seconds to wait for an attempt; with the defaults it takes at most 65 s of DNS and HTTPS."""
_LINES_LIMIT: Final = 200
"""Lines of a policy that are printed: a policy may be 64 KiB of line ends."""
_COLUMNS: Final = (
    "domain", "answer", "mode", "id", "fetched", "expires", "asked", "times", "failure",
)  # fmt: skip
_INTERRUPTED: Final = "interrupted; the daemon goes on with attempts under way"
_EXITS: Final = {"fetched": OK, "no-policy": NO_POLICY}
_OUTCOMES: Final = {
    "fetched": "policy fetched",
    "no-policy": "the domain has no policy",
    "failed": "no policy fetched",
    "busy": "no outcome: too many attempts, or a fault of the daemon; see its log, try again",
}


def add(commands: Commands) -> None:
    """Add the commands."""
    policies = commands.group("policy", "show, refresh and forget policies of the running daemon")
    _add_list(policies)
    show = policies.add("show", _show, "print everything that is known of a domain")
    show.add_argument("--json", action="store_true", help="print one JSON object")
    refresh = policies.add(
        "refresh", _refresh, "fetch the policy of a domain now, even if it is not due"
    )
    forget = policies.add(
        "forget", _forget, "remove a domain and its history from memory and store"
    )
    text = "all domains of `policy list --failing`, each printed when its attempt has ended"
    refresh.add_argument("--failing", action="store_true", help=text)
    for command in (show, refresh, forget):
        may_lack = "?" if command is refresh else None
        command.add_argument("domain", metavar="DOMAIN", nargs=may_lack, help="the domain")
        add_config(command)
    history.add(policies)


def _add_list(policies: Commands) -> None:
    command = policies.add("list", _list, "list the known policies, sorted by domain")
    command.add_argument(
        "--mode", choices=[str(m) for m in Mode], help="only policies in this mode"
    )
    text = "only domains whose look-up fails, and policies whose renewal is overdue"
    command.add_argument("--failing", action="store_true", help=text)
    text = "only policies that expire within this time, such as 12h or 2d"
    command.add_argument("--expiring", metavar="TIME", type=seconds_of, help=text)
    text = "only domains that were asked for within this time, with their look-ups; 7d at most"
    command.add_argument("--asked-since", metavar="TIME", type=asked_since, help=text)
    command.add_argument("--json", action="store_true", help="print one JSON object per line")
    add_config(command)


def _list(args: argparse.Namespace) -> int:
    filters = {"mode": args.mode, "expiring": args.expiring, "failing": args.failing and "yes"}
    query = {name: str(value) for name, value in filters.items() if value}
    if args.asked_since is not None:
        query["asked_within"] = str(args.asked_since)
    entries = control_client(args).lines("policies", **query)
    if args.json:
        for entry in entries:
            print(json.dumps(entry))
    else:
        nothing = "no policy matches" if query else "no policy is known yet"
        if args.asked_since is None:
            _print_list(entries, nothing)
        else:
            _print_asked(entries, nothing, Tally(time.time(), args.asked_since))
    return OK


def _print_asked(entries: Iterator[Mapping[str, Any]], nothing: str, tally: Tally) -> None:
    """Print a list whose look-ups are those of the time that was asked for, and their sums."""
    from postfix_mta_sts.cli import terminal  # noqa: PLC0415 (rich: see there)

    _print_list(({**entry, "asked_count": tally.add(entry)} for entry in entries), nothing)
    if lines := list(tally.lines()):
        print(f"\nlook-ups since {tally.first_day} 00:00Z, by what Postfix is told now:")
        print(terminal.pairs(lines))


def _print_list(entries: Iterator[Mapping[str, Any]], nothing: str) -> None:
    from postfix_mta_sts.cli import terminal  # noqa: PLC0415 (rich: see there)

    table = terminal.Columns(*_COLUMNS, dispensable=("id", "times", "fetched", "asked", "mode"))
    if not table.print_rows(_row(entry, time.time()) for entry in entries):
        print(nothing)


def _row(entry: Mapping[str, Any], now: float) -> tuple[object, ...]:
    failure = entry["failure"]["code"] if entry["failure"] else None
    return (
        entry["domain"],
        answers.answer(entry) or NO_VALUE,
        entry["mode"] or NO_VALUE,
        entry["id"] or NO_VALUE,
        ago(entry["fetched_at"], now) if entry["mode"] else NO_VALUE,
        ahead(entry["expires_at"], now),
        ago(entry["asked_at"], now),
        entry["asked_count"],
        failure or ("overdue" if entry["overdue"] else None),
    )


def _show(args: argparse.Namespace) -> int:
    known = control_client(args).ask("GET", "policies", domain_of(args.domain))
    if args.json:
        print(json.dumps(known, indent=2))
    else:
        _print_domain(known)
    return OK if known["known"] else NO_POLICY


def _refresh(args: argparse.Namespace) -> int:
    if args.failing == (args.domain is not None):
        raise CommandError("policy refresh: give either a DOMAIN or --failing")
    return _refresh_failing(args) if args.failing else _refresh_one(args)


def _refresh_failing(args: argparse.Namespace) -> int:
    domains = [entry["domain"] for entry in control_client(args).lines("policies", failing="yes")]
    refreshed = failed = 0
    try:
        for domain, known in _refreshed(args, domains):
            print(_outcome_line(domain, known), flush=True)
            refreshed += 1
            failed += known["outcome"] in {"failed", "busy"}
    except KeyboardInterrupt:
        print(f"refreshed {refreshed} of {len(domains)}, still failing {failed}; {_INTERRUPTED}")
        return INTERRUPTED
    print(f"refreshed {len(domains)}, still failing {failed}" if domains else "no domain fails")
    return FAILURE if failed else OK


def _refreshed(
    args: argparse.Namespace, domains: Sequence[str]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Refresh domains, see `refresh_all`; on a terminal, show what is waited for."""
    output, left = live(sys.stdout), set(domains)

    def waiting() -> None:
        output.spin(next(iter(left)) if len(left) == 1 else f"{len(left)} domains")

    try:
        client = control_client(args, _ATTEMPT_TIMEOUT)
        for domain, known in refresh_all(client, domains, waiting):
            left.remove(domain)
            output.clear()
            yield domain, known
    finally:
        output.clear()


def _outcome_line(domain: str, known: Mapping[str, Any]) -> str:
    failure = known.get("failure") if known["outcome"] in {"failed", "busy"} else None
    outcome = f"{_OUTCOMES[known['outcome']]}{_in_force(known)}"
    return ": ".join(filter(None, (domain, outcome, failure and failure["reason"])))


def _refresh_one(args: argparse.Namespace) -> int:
    domain = domain_of(args.domain)
    try:
        ((_, known),) = _refreshed(args, [domain])
    except KeyboardInterrupt:
        print(f"{domain}: {_INTERRUPTED}")
        return INTERRUPTED
    _print_domain(known)
    print(f"{_OUTCOMES[known['outcome']]}{_in_force(known)}")
    return _EXITS.get(known["outcome"], FAILURE)


def _forget(args: argparse.Namespace) -> int:
    domain = domain_of(args.domain)
    result = control_client(args).ask("POST", "policies", domain, "forget")
    if result["kept_on_file"]:
        raise CommandError(
            f"{domain}: still in the store, which cannot be written now; try again later"
        )
    print(f"{domain}: {'forgotten' if result['known'] else 'was not known'}")
    return OK if result["known"] else NO_POLICY


def _print_domain(known: Mapping[str, Any]) -> None:
    from postfix_mta_sts.cli import terminal  # noqa: PLC0415 (rich: see there)

    print(known["domain"])
    if not known["known"] and known.get("attempt"):
        print(f"nothing is known yet: {_attempt(known)}")
    elif not known["known"]:
        print("not known: Postfix has not asked for it lately; query asks the network")
        if known.get("exception"):
            answer = list(_answer(known)) if known["answer"] else []
            print(terminal.pairs([*answer, *_exception(known, time.time())]))
        if known.get("shared"):
            print(terminal.pairs(shared_policy.lines(known["shared"], time.time())))
    else:
        print(terminal.pairs(_facts(known, time.time())))
    if known["history"]:
        table = terminal.Columns("accepted", "last fetched", "mode", "id", "mx")
        print()
        print(table.block(map(_history_row, known["history"])))


def _facts(known: Mapping[str, Any], now: float) -> Iterator[tuple[str, object]]:
    policy, expires = known["policy"], known["expires_at"]
    waits = _attempt(known) if known.get("attempt") else "the next look-up asks the network first"
    if known["answer"] is None:
        yield "answer", waits
    else:
        yield from _answer(known)
    yield from _exception(known, now)
    if known["answer"] and known.get("attempt"):
        yield "attempt", f"under way for {span(known['attempt']['seconds'])}"
    if policy:
        yield "mode", policy["mode"] if known["in_force"] else f"{policy['mode']}, expired"
        yield "id", policy["id"]
        for pattern in policy["mx"]:
            yield "mx", pattern
        yield "fetched", dated(known["fetched_at"], ago(known["fetched_at"], now))
        yield "expires", dated(expires, ahead(expires, now))
        yield "next fetch", dated(known["refetch_at"], ahead(known["refetch_at"], now))
        yield "asked for", f"{_times(known['asked_count'])}, last {ago(known['asked_at'], now)}"
    elif known.get("attempt") and not known["failure"]:
        yield "policy", "not known yet"
    else:
        absent = known["failure"] and known["failure"]["code"] == NoRecordError.code
        yield "policy", f"none: {known['failure']['reason']}" if absent else "none"
        yield "cached until", dated(expires, ahead(expires, now))
    if policy or known["failure"]:
        yield "checked", dated(known["checked_at"], ago(known["checked_at"], now))
        yield "next check", dated(known["recheck_at"], ahead(known["recheck_at"], now))
    yield from _failures(known, now)
    if known["dane"]:
        yield from _dane(known["dane"], now)
    if known.get("shared"):
        yield from shared_policy.lines(known["shared"], now)
    for line in policy["text"].splitlines()[:_LINES_LIMIT] if policy else ():
        yield "text", line


def _answer(known: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    yield "answer", answers.explained(known)
    yield from answers.replies(known, shortened=sys.stdout.isatty())


def _exception(known: Mapping[str, Any], now: float) -> Iterator[tuple[str, object]]:
    """Yield the line about the exception that is in force, if there is one."""
    if known.get("exception"):
        exception = exception_of_json(known["exception"])
        yield "exception", described(exception, now)
        if exception.scope != known["domain"]:
            yield "", f"it is for {exception.scope}"


def _attempt(known: Mapping[str, Any]) -> str:
    """Say what a look-up waits for, and what it gets if nothing more is known in time."""
    attempt = known["attempt"]
    wait = (
        f"waits up to {span(attempt['waits_for'])} more, then it " if attempt["waits_for"] else ""
    )
    answered = f"a look-up {wait}is answered {attempt['then']}"
    return f"an attempt is under way for {span(attempt['seconds'])}; {answered}"


def _failures(known: Mapping[str, Any], now: float) -> Iterator[tuple[str, object]]:
    failure = known["failure"]
    if failure and (known["policy"] or failure["code"] != NoRecordError.code):
        yield "failure", f"{failure['code']} ({failure['stage']}): {failure['reason']}"
        yield "", f"failures in a row: {failure['count']}, first {ago(failure['since'], now)}"
    for backoff in known["backoffs"]:
        until = ahead(backoff["until"], now)
        failures = _times(backoff["count"])
        yield "back-off", f"next attempt for id {backoff['id']} {until}; failed {failures}"


def _dane(verdict: Mapping[str, Any], now: float) -> Iterator[tuple[str, object]]:
    yield "DANE", f"{verdict['kind']}: {verdict['reason']}"
    for host in verdict["hosts"]:
        yield "MX host", f"{host['name']} {host['state']}: {host['step']}"
    until = dated(verdict["until"], ahead(verdict["until"], now))
    yield "", f"found {ago(verdict['found_at'], now)}, valid until {until}"
    if verdict["failure"]:
        yield "", f"last look-up failed: {verdict['failure']}"


def _history_row(policy: Mapping[str, Any]) -> tuple[object, ...]:
    times = moment(policy["seen_from"]), moment(policy["seen_to"])
    return (*times, policy["mode"], policy["id"], " ".join(policy["mx"]))


def _in_force(known: Mapping[str, Any]) -> str:
    in_force = known["outcome"] == "failed" and known.get("in_force")
    return "; the stored policy stays in force" if in_force else ""


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
