"""The argument DOMAIN of commands, and what to write instead of one that is not a domain."""

import re
from contextlib import suppress

from postfix_mta_sts.cli.parser import FAILURE, CommandError
from postfix_mta_sts.errors import UserError
from postfix_mta_sts.mtasts.domain import Domain, parse_domain
from postfix_mta_sts.mtasts.errors import InvalidDomainError
from postfix_mta_sts.mtasts.exceptions import InvalidExceptionError, Scope, parse_scope
from postfix_mta_sts.postfix.smtp_client.next_hop import parse_next_hop
from postfix_mta_sts.postfix.smtp_client.values import NextHop


def domain_of(text: str, exit_code: int = FAILURE) -> Domain:
    """Return the domain that a person has written. Raises `CommandError`, with a guess."""
    try:
        return parse_domain(text)
    except InvalidDomainError as error:
        raise CommandError(f"{error}{_guess(text)}", exit_code) from None


def scope_of(text: str, *, anyway: bool) -> Scope:
    """Return the scope of an exception that a person has written.

    Raises `CommandError`, with a guess.
    """
    try:
        return parse_scope(text, anyway=anyway)
    except InvalidExceptionError as error:
        domain_of(text.removeprefix("*."))  # for its guess
        raise CommandError(str(error)) from None


def next_hop_of(text: str, exit_code: int) -> NextHop:
    """Return the next-hop that a person has written. Raises `CommandError`, with a guess."""
    try:
        return parse_next_hop(text)
    except UserError as error:
        raise CommandError(f"{error}{_guess(text)}", exit_code) from None


def _guess(text: str) -> str:
    """Return `; write …` for a mail address, a URL, a next-hop or a name with blanks around it."""
    bare = re.sub(r"^[a-z]+://", "", text.strip().strip("<>").lower())
    bare = re.split(r"[/?#:]", bare.rpartition("@")[2].lstrip("["))[0].rstrip("]")
    with suppress(InvalidDomainError):
        return f"; write {parse_domain(bare)}"
    return ""
