"""`postfix-mta-sts healthcheck [DOMAIN]`: send the running daemon a request, as Postfix does.

Without DOMAIN the request is for an address literal, which the daemon answers without the network.
A check that depends on DNS would restart a healthy daemon because of a network error.

A UNIX socket that this user may open, but Postfix may not, is a warning on standard error; so is
the shared store of a fleet that does not answer. Neither changes the exit code.
"""

import argparse
import asyncio
import errno
import os
import sys
from collections.abc import Iterator
from typing import Final

from postfix_mta_sts.cli.domain_argument import domain_of
from postfix_mta_sts.cli.parser import OK, CommandError, Commands, add_config, load_settings
from postfix_mta_sts.config.settings import Settings
from postfix_mta_sts.postfix import access, probe
from postfix_mta_sts.postfix.probe import Place, ProbeError

REPLY_TIMEOUT: Final = 5.0
"""Seconds to wait for a reply that needs no network."""


def add(commands: Commands) -> None:
    """Add the command."""
    text = "send a request to the first listener of the running daemon; exit code 0 if it replies"
    command = commands.add("healthcheck", _healthcheck, text)
    text = "the domain to ask for; the reply is printed (default: a request without a domain)"
    command.add_argument("domain", metavar="DOMAIN", nargs="?", help=text)
    add_config(command)


def _healthcheck(args: argparse.Namespace) -> int:
    settings = load_settings(args)
    domain = None if args.domain is None else domain_of(args.domain)
    # The daemon may wait for the network, up to the configured timeout.
    seconds = REPLY_TIMEOUT + (settings.lookup.timeout if domain else 0)
    print(asyncio.run(_check(settings, domain or probe.HEALTH_KEY, seconds)))
    for line in _warnings(settings):
        print(f"postfix-mta-sts: warning: {line}", file=sys.stderr)
    return OK


def _warnings(settings: Settings) -> Iterator[str]:
    yield from access.access_warnings(settings.listen, access.postfix_account())
    if settings.fleet.url is not None:
        from postfix_mta_sts.cli import fleet_status  # noqa: PLC0415 (http.client: only for a fleet)

        yield from fleet_status.warnings(settings)


async def _check(settings: Settings, key: str, seconds: float) -> str:
    """Return one line about the reply. Raises `CommandError`."""
    first = settings.listen[0]
    where = f"{first.wire} {first.address}"
    try:
        reply = await probe.ask(Place(first.wire, first.address), key, timeout=seconds)
    except ProbeError as error:
        raise CommandError(f"{where}: {error}; {_advice(str(error))}") from None
    except ValueError as error:
        raise CommandError(f"{where}: {error}") from None
    if key == probe.HEALTH_KEY:
        return f"{where}: answers"
    return f"{where}: {key}: {'not found' if reply is None else reply}"


def _advice(reason: str) -> str:
    if reason in {os.strerror(errno.ECONNREFUSED), os.strerror(errno.ENOENT)}:
        return "is the daemon running, and with this configuration?"
    return "see the log of the daemon, and which program listens there"
