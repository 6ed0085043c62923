"""`postfix-mta-sts query DOMAIN`: look up a domain on the network now, and print each step."""

import argparse
import asyncio
import json

from postfix_mta_sts.admin import report
from postfix_mta_sts.admin.explain import Explanation, explain
from postfix_mta_sts.cli.parser import FAILURE, NO_POLICY, OK, Commands, add_config, load_settings
from postfix_mta_sts.config.settings import Settings
from postfix_mta_sts.mtasts.domain import Domain, parse_domain
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
    domain = parse_domain(args.domain)
    explanation = asyncio.run(_explain(domain, load_settings(args)))
    if args.json:
        print(json.dumps(report.as_dict(explanation), indent=2))
    else:
        print("\n".join(report.as_lines(explanation)))
    if explanation.policy:
        return OK
    return NO_POLICY if explanation.unprotected else FAILURE


async def _explain(domain: Domain, settings: Settings) -> Explanation:
    network_settings = NetworkSettings.of(settings)
    dane_client = LazyDaneClient(network_settings)
    postfix = await postconf.ask() if settings.dane.mode == "auto" else None
    dane = await check_status(settings, dane_client, postfix)
    dane_lookup = (
        dane_client.look_up_dane if dane.on else "; ".join(filter(None, (dane.reason, dane.advice)))
    )
    async with open_clients(network_settings) as (dns, fetcher):
        return await explain(
            domain, dns.look_up_txt, fetcher.fetch_body, dane_lookup, dane_rule(settings)
        )
