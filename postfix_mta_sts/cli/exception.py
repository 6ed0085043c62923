"""`postfix-mta-sts exception …`: let something else than a policy decide about mail to a domain."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from postfix_mta_sts.admin.client import ControlClient, NoAnswerError, NotRunningError
from postfix_mta_sts.admin.exceptions.sentences import (
    author,
    checked,
    ends,
    ends_shortly,
    used,
    with_details,
)
from postfix_mta_sts.admin.exceptions.views import exception_of_json
from postfix_mta_sts.cli import exception_effect as effect
from postfix_mta_sts.cli.domain_argument import scope_of
from postfix_mta_sts.cli.locate import control_client
from postfix_mta_sts.cli.parser import FAILURE, NO_POLICY, OK, CommandError, Commands, add_config
from postfix_mta_sts.config import dates
from postfix_mta_sts.mtasts.exceptions import (
    REASON_LIMIT,
    PolicyException,
    Scope,
    Use,
    reason_length,
)

_USES: Final = (
    "ignore: the level of main.cf is in force; may: also in the clear; encrypt: TLS, unverified; "
    "enforce: mode testing is enforced; pin: only servers that are verified for --mx"
)
_START: Final = "start it, or write the exception into its configuration, and try again then"
_UNCERTAIN: Final = "it may be done all the same, also later: exception list says so"


def add(commands: Commands) -> None:
    """Add the commands."""
    exceptions = commands.group(
        "exception", "let something else than its policy decide about mail to a domain"
    )
    _add_add(exceptions)
    listed = exceptions.add("list", _list, "list the exceptions, sorted by domain")
    listed.add_argument("--json", action="store_true", help="print one JSON object")
    remove = exceptions.add("remove", _remove, "remove an exception, so that the policy decides")
    _add_scope(remove)
    for command in (listed, remove):
        add_config(command)


def _add_add(exceptions: Commands) -> None:
    command = exceptions.add("add", _add, "add an exception, or replace the one of this domain")
    _add_scope(command)
    command.add_argument("--use", required=True, choices=[str(use) for use in Use], help=_USES)
    end = command.add_mutually_exclusive_group(required=True)
    text = "how long it lasts, such as 12h, 3d or 2w"
    end.add_argument("--for", dest="lasts", metavar="TIME", type=_duration, help=text)
    text = f"when it ends: {dates.ALLOWED}; without a zone it is local"
    end.add_argument("--until", metavar="DATE", type=_until, help=text)
    end.add_argument("--forever", action="store_true", help="it has no end")
    text = "why, for the next administrator, such as 'ticket 4711: certificate expired'"
    command.add_argument("--reason", metavar="TEXT", required=True, help=text)
    text = "a name for which a server must have a certificate, with --use pin; may be repeated"
    command.add_argument("--mx", metavar="NAME", action="append", default=[], help=text)
    text = "also stand in place of DANE, with --use may or encrypt"
    command.add_argument("--dane", choices=["ignore"], help=text)
    text = "a whole top-level domain, such as *.com, is meant"
    command.add_argument("--anyway", action="store_true", help=text)
    add_config(command)


def _add_scope(command: argparse.ArgumentParser) -> None:
    text = "a domain, or '*.example.com': all names below it, without itself"
    command.add_argument("domain", metavar="DOMAIN", help=text)


def _duration(text: str) -> float:
    return _parsed(dates.parse_duration, text)


def _until(text: str) -> float:
    return _parsed(dates.parse_until, text)


def _parsed(parse: Callable[[str], float], text: str) -> float:
    try:
        return parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error) or f"write {dates.ALLOWED}") from None


def _add(args: argparse.Namespace) -> int:
    scope = scope_of(args.domain, anyway=args.anyway)
    client = control_client(args)
    try:
        answer = client.send(_request(args, scope), "exceptions")
    except NotRunningError as error:
        raise CommandError(f"nothing was added: {error}; {_START}") from error
    except NoAnswerError as error:
        raise CommandError(f"{error}; {_UNCERTAIN}") from error
    added, now = exception_of_json(answer["exception"]), time.time()
    print(f"{added.scope}: {used(added)}, {ends(added, now)}", flush=True)
    _print(effect.lines(client, added, answer["replaced"], answer.get("fleet")))
    return OK


def _request(args: argparse.Namespace, scope: Scope) -> Mapping[str, object]:
    reason = " ".join(_text(args.reason).split())
    if (length := reason_length(reason)) > REASON_LIMIT:
        escaped = "" if reason.isascii() else ", escapes like \\xe9 included"
        too_long = f"it has {length} characters{escaped}, and at most {REASON_LIMIT} are kept"
        raise CommandError(f"--reason: {too_long}; name a ticket or a person")
    end = {"seconds": args.lasts, "until": args.until, "forever": args.forever}
    return {
        "scope": scope,
        "use": args.use,
        "reason": reason,
        "mx": [_text(name) for name in args.mx],
        "ignores_dane": args.dane == "ignore",
        "anyway": args.anyway,
        **{name: value for name, value in end.items() if value},
    }


def _text(argument: str) -> str:
    """Return an argument as text that JSON can have: its bytes need not be UTF-8."""
    return argument.encode("utf-8", "backslashreplace").decode()


def _remove(args: argparse.Namespace) -> int:
    scope = scope_of(args.domain, anyway=True)
    client = control_client(args)
    try:
        answer = client.ask("POST", "exceptions", scope, "remove")
    except NotRunningError as error:
        advice = "start it first: it has its exceptions in its store"
        raise CommandError(f"nothing was removed: {error}; {advice}") from error
    except NoAnswerError as error:
        raise CommandError(f"{error}; {_UNCERTAIN}") from error
    if answer["removed"] is None:
        print(f"{scope}: there is no exception of this name; exception list has all")
        return NO_POLICY
    print(f"{scope}: removed {_named(exception_of_json(answer['removed']))}", flush=True)
    _print(effect.lines_after_removal(client, scope, answer))
    return OK


def _named(exception: PolicyException) -> str:
    return f"{used(exception)}, {ends(exception, time.time())}: {exception.reason}"


def _print(lines: "effect.Lines") -> None:
    from postfix_mta_sts.cli import terminal  # noqa: PLC0415 (rich: see there)

    for line in lines:  # one by one: the queue of Postfix takes its time
        print(terminal.labelled([line]), flush=True)


def _list(args: argparse.Namespace) -> int:
    answer = _asked(control_client(args))
    if args.json:
        print(json.dumps(answer, indent=2))
    elif answer["exceptions"]:
        _print_list(answer["exceptions"])
    elif not answer["problem"]:
        print("there is no exception")
    if (fleet := answer.get("fleet")) and fleet["problem"]:
        lacking = f"warning: the fleet may have others: {fleet['problem']}"
        print(f"postfix-mta-sts: {lacking}", file=sys.stderr)
    if answer["problem"]:
        lacking = f"those of commands are not known: {answer['problem']}"
        print(f"postfix-mta-sts: {lacking}", file=sys.stderr)
        return FAILURE
    return OK


def _asked(client: ControlClient) -> Mapping[str, Any]:
    try:
        answer: Mapping[str, Any] = client.ask("GET", "exceptions")
    except NotRunningError as error:
        advice = "those of the configuration are in its file, those of commands in the store"
        raise CommandError(f"{error}; {advice}") from error
    return answer


def _print_list(entries: list[Mapping[str, Any]]) -> None:
    from postfix_mta_sts.cli import terminal  # noqa: PLC0415 (rich: see there)

    now = time.time()
    columns = "domain", "use", "ends", "by", "reason"
    table = terminal.Columns(*columns, dispensable=("by",), below="reason")
    print(table.block([_row(entry, now) for entry in entries]))
    # One of each domain, which may have an exception of the configuration and one of a command.
    if checks := {e["scope"]: checked(e["check"], now) for e in entries if e["check"]}:
        print("\nlast check, without the exception:")
        print(terminal.pairs(checks.items()))


def _row(entry: Mapping[str, Any], now: float) -> tuple[object, ...]:
    exception = exception_of_json(entry)
    is_covered = entry["covered"] and not entry["ended"]
    end = "covered" if is_covered else ends_shortly(exception, now)
    by = "config" if exception.added_at is None else author(exception)
    return exception.scope, exception.use, end, by, with_details(exception)
