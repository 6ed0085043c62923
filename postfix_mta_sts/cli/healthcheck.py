"""`postfix-mta-sts healthcheck [DOMAIN]`: ask the running daemon, as Postfix would.

Without DOMAIN it is asked about an address literal: that it answers is what is wanted, and a check
that depended on somebody's DNS would have a sound daemon restarted for the network's trouble.
"""

import argparse
import asyncio
from typing import Final

from postfix_mta_sts.cli.parser import OK, CommandError, Commands, add_config, settings
from postfix_mta_sts.config.settings import Settings
from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.postfix import probe
from postfix_mta_sts.postfix.probe import Place, ProbeError

DEADLINE: Final = 5.0
"""Seconds for an answer that needs no network."""


def add(commands: Commands) -> None:
    """Add the command."""
    text = "ask the running daemon through its first listener; exit code 0 if it answers"
    command = commands.add("healthcheck", _healthcheck, text)
    text = "ask about this domain, and print the reply (default: whether it answers at all)"
    command.add_argument("domain", metavar="DOMAIN", nargs="?", help=text)
    add_config(command)


def _healthcheck(args: argparse.Namespace) -> int:
    chosen = settings(args)
    domain = None if args.domain is None else parse_domain(args.domain)
    # A domain may have to wait for the network, as long as the configuration lets it.
    deadline = DEADLINE + (chosen.lookup.timeout if domain else 0)
    print(asyncio.run(_asked(chosen, domain or probe.NOBODY, deadline)))
    return OK


async def _asked(chosen: Settings, key: str, deadline: float) -> str:
    """One line about the reply. Raises `CommandError`."""
    first = chosen.listen[0]
    where = f"{first.wire} {first.address}"
    try:
        reply = await probe.ask(Place(first.wire, first.address), key, deadline=deadline)
    except (ProbeError, ValueError) as error:
        raise CommandError(f"{where}: {error}") from None
    if key == probe.NOBODY:
        return f"{where}: answers"
    return f"{where}: {key}: {'not found' if reply is None else reply}"
