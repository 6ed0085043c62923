"""What `exception add` and `exception remove` say of their effect on mail.

The daemon says what Postfix is told now. The level of main.cf and the mail that waits are those of
the Postfix of this machine.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from postfix_mta_sts.admin.client import ControlClient
from postfix_mta_sts.admin.exceptions.sentences import described
from postfix_mta_sts.admin.exceptions.views import exception_of_json
from postfix_mta_sts.admin.times import span
from postfix_mta_sts.cli import answers
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.exceptions import PolicyException, Scope, Use
from postfix_mta_sts.postfix.main_cf import read_main_cf
from postfix_mta_sts.postfix.programs import ProgramError
from postfix_mta_sts.postfix.queue import Waiting, waiting_for

Line: TypeAlias = tuple[str, str]
Lines: TypeAlias = Iterable[Line]
"""Labels and texts, see `terminal.labelled`."""

QUEUE_TIMEOUT: Final = 3.0
"""Seconds; a long queue is counted as far as that."""
_LATER: Final = "the next look-up asks the network first"
_TRY_NOW: Final = "postqueue -f tries all mail that waits now, postqueue -i ID one message"
_LEVELS: Final = {
    "": "no TLS",
    "none": "no TLS",
    "may": "TLS if the server offers it, else in the clear",
    "encrypt": "only over TLS, without verification",
    "dane": "DANE where the domain has it, else as may",
    "dane-only": "only with DANE, so mail to a domain without it waits",
}
_STILL_VERIFIED: Final = "certificates are still verified; --use encrypt or may would not"


def lines(
    client: ControlClient,
    added: PolicyException,
    replaced: Mapping[str, Any] | None,
    fleet: Mapping[str, Any] | None = None,
) -> Iterator[Line]:
    """Say what an exception that was added does, what it replaces, and which relays have it."""
    yield "reason", added.reason
    if replaced:
        yield "replaces", described(exception_of_json(replaced), time.time())
    if added.scope.startswith("*."):
        yield from _of_names_below(added)
    else:
        known = client.ask("GET", "policies", added.scope)
        yield from _answer(known, added)
        if known["answer"] == "not-found" or (known["answer"] is None and added.use is Use.IGNORE):
            yield "main.cf", _level()
    if added.use is not Use.ENFORCE:
        yield from _waiting(added.scope)
    yield from _fleet(fleet)


def lines_after_removal(
    client: ControlClient, scope: Scope, removal: Mapping[str, Any]
) -> Iterator[Line]:
    """Say what is in force after an exception was removed."""
    if removal["in_force"]:
        wider = exception_of_json(removal["in_force"])
        yield "in force", f"the exception {wider.scope}: {described(wider, time.time())}"
    if not scope.startswith("*."):
        yield from _answer(client.ask("GET", "policies", scope))
    yield from _fleet(removal.get("fleet"))


def _fleet(fleet: Mapping[str, Any] | None) -> Iterator[Line]:
    """Say which other relays do the same."""
    if fleet is None:
        return
    if fleet["problem"]:
        yield "fleet", f"only on this relay, {fleet['relay']}, for now: {fleet['problem']}"
        yield "", "the others follow when the shared store is back"
    else:
        yield "fleet", "on all relays within 5 seconds"


def _of_names_below(added: PolicyException) -> Iterator[Line]:
    domain = added.scope.removeprefix("*.")
    yield "answer", f"for names below {domain}, not for {domain}: policy show NAME has that of one"
    if added.use is Use.IGNORE:
        yield "main.cf", _level()


def _answer(known: Mapping[str, Any], added: PolicyException | None = None) -> Iterator[Line]:
    """Say what Postfix is told now, and why that need not be what was `added`."""
    if known["answer"] is None:
        yield "answer", _LATER
        return
    yield "answer", answers.explained(known)
    if added is None or known["why"] == "exception":
        return
    if known["why"] == "trial":
        yield "", "it is the trial that decides, with the exception and without it"
    elif known["why"] in {"dane", "dane-unknown"}:
        can = added.use in {Use.MAY, Use.ENCRYPT} and not added.ignores_dane
        yield "", f"DANE decides{'; --dane ignore would stand in its place' if can else ''}"
    else:
        yield "", "for now the same as without the exception"


def _level() -> str:
    """Say which level of main.cf is in force after "not found"."""
    try:
        main_cf = asyncio.run(read_main_cf())
    except ProgramError as error:
        return f"its level is in force, and not known here: {error}"
    if main_cf is None:
        return "smtp_tls_security_level of the machine that Postfix runs on (no postconf here)"
    level = main_cf.smtp_tls_security_level
    return f"smtp_tls_security_level = {level}: {_LEVELS.get(level, _STILL_VERIFIED)}"


def _waiting(scope: Scope) -> Iterator[Line]:
    """Say what waits in the queue, and how Postfix tries it now."""
    if scope.startswith("*."):
        yield "waiting", _TRY_NOW
        return
    waiting = asyncio.run(waiting_for(Domain(scope), timeout=QUEUE_TIMEOUT))
    yield "waiting", _counted(waiting)
    if waiting.messages or waiting.error:
        yield "", _TRY_NOW


def _counted(waiting: Waiting) -> str:
    number = "1 message" if waiting.messages == 1 else f"{waiting.messages or 'no'} messages"
    if waiting.error:
        known = f"{number} or more" if waiting.messages else "not known here"
        return f"{known}: {waiting.error}"
    since = f", the oldest for {span(time.time() - waiting.oldest)}" if waiting.oldest else ""
    return f"{number}{since}"
