"""Asks the Postfix of this machine which domains it takes mail for itself.

Only domains that main.cf names; those in tables would take a connection to a database.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain
from typing import Final

from postfix_mta_sts.mtasts.domain import Domain, parse_domain
from postfix_mta_sts.mtasts.errors import InvalidDomainError
from postfix_mta_sts.postfix.main_cf import parse_parameters
from postfix_mta_sts.postfix.own_addresses import words_of
from postfix_mta_sts.postfix.programs import ProgramError, run

PARAMETERS: Final = ("mydestination", "virtual_alias_domains", "virtual_mailbox_domains")
"""Not relay_domains: mail to these goes on over SMTP, where a policy holds it as well."""


async def read_own_domains(command: Sequence[str] = ("postconf",)) -> frozenset[Domain]:
    """The domains; none if there is no Postfix here, or it does not answer."""
    try:
        output = await run([*command, "-x", *PARAMETERS])
    except ProgramError:
        return frozenset()
    values = parse_parameters(output.text)
    return frozenset(_domains(values.get(name, "") for name in PARAMETERS))


def _domains(values: Iterator[str]) -> Iterator[Domain]:
    for word in chain.from_iterable(map(words_of, values)):
        with suppress(InvalidDomainError):  # a table, such as hash:/etc/postfix/domains
            yield parse_domain(word)
