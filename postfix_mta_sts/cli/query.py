"""`postfix-mta-sts query DOMAIN`: look up a domain on the network now, and print each step."""

import argparse
import asyncio
import json
import sys

from postfix_mta_sts.admin import report
from postfix_mta_sts.admin.explain import Explanation, OnDane, explain
from postfix_mta_sts.cli.domain_argument import domain_of
from postfix_mta_sts.cli.live import Live, live, run_with
from postfix_mta_sts.cli.parser import (
    FAILURE,
    INTERRUPTED,
    NO_POLICY,
    OK,
    Commands,
    add_config,
    load_settings,
)
from postfix_mta_sts.config.settings import Settings
from postfix_mta_sts.mtasts.dane import DaneOutcome
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.network.clients import LazyDaneClient, open_clients
from postfix_mta_sts.network.settings import NetworkSettings
from postfix_mta_sts.postfix import postconf
from postfix_mta_sts.postfix.dane import check_status, dane_rule


def add(commands: Commands) -> None:
    """Add the command."""
    text = "look up a domain on the network now, and print each step"
    command = commands.add("query", _query, text)
    command.add_argument("domain", metavar="DOMAIN", help="the domain to look up")
    command.add_argument("--json", action="store_true", help="print one JSON object")
    add_config(command)


def _query(args: argparse.Namespace) -> int:
    seen = Explanation(domain_of(args.domain))
    output = live(sys.stdout)
    settings = load_settings(args)

    def update() -> None:
        output.show(() if args.json else report.as_lines(seen))
        output.spin(report.waiting_for(seen))

    try:
        asyncio.run(run_with(_explain(seen, settings), update))
    except KeyboardInterrupt:  # asyncio.run has cancelled the look-up
        seen.interrupted = True
    _show_end(seen, output, as_json=args.json)
    return _exit_code(seen)


def _show_end(seen: Explanation, output: Live, *, as_json: bool) -> None:
    if as_json:
        output.show([json.dumps(report.as_dict(seen), indent=2)])
    else:
        output.show(report.as_lines(seen))


def _exit_code(seen: Explanation) -> int:
    if seen.interrupted:
        return INTERRUPTED
    if seen.policy:
        return OK
    return NO_POLICY if seen.unprotected else FAILURE


async def _explain(seen: Explanation, settings: Settings) -> None:
    network_settings = NetworkSettings.of(settings)
    dane_client = LazyDaneClient(network_settings)

    async def look_up_dane(domain: Domain, on_progress: OnDane) -> DaneOutcome | str:
        reason = await _no_dane(settings, dane_client)
        return reason or await dane_client.look_up_dane(domain, on_progress)

    async with open_clients(network_settings) as (dns, fetcher):
        await explain(seen, dns.look_up_txt, fetcher.fetch_body, look_up_dane, dane_rule(settings))


async def _no_dane(settings: Settings, dane_client: LazyDaneClient) -> str:
    """Return why DANE is off; empty if it is on."""
    postfix = await postconf.ask() if settings.dane.mode == "auto" else None
    dane = await check_status(settings, dane_client, postfix)
    return "" if dane.on else "; ".join(filter(None, (dane.reason, dane.advice)))
