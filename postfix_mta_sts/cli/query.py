"""`postfix-mta-sts query DOMAIN`: ask the network now, and print each step."""

import argparse
import asyncio
import json

from postfix_mta_sts.admin import report
from postfix_mta_sts.admin.explain import Explanation, explain
from postfix_mta_sts.cli.parser import FAILURE, NO_POLICY, OK, Commands, add_config, settings
from postfix_mta_sts.config.settings import Settings
from postfix_mta_sts.mtasts.domain import Domain, parse_domain
from postfix_mta_sts.network.clients import LazyDaneClient, network
from postfix_mta_sts.network.settings import NetworkSettings
from postfix_mta_sts.postfix.dane import find, rule
from postfix_mta_sts.postfix.postconf import ask


def add(commands: Commands) -> None:
    """Add the command."""
    text = "ask the network about a domain now, and print each step"
    command = commands.add("query", _query, text)
    command.add_argument("domain", metavar="DOMAIN")
    command.add_argument("--json", action="store_true", help="print one JSON object")
    add_config(command)


def _query(args: argparse.Namespace) -> int:
    domain = parse_domain(args.domain)
    seen = asyncio.run(_explained(domain, settings(args)))
    if args.json:
        print(json.dumps(report.as_dict(seen), indent=2))
    else:
        print("\n".join(report.as_lines(seen)))
    if seen.policy:
        return OK
    return NO_POLICY if seen.unprotected else FAILURE


async def _explained(domain: Domain, chosen: Settings) -> Explanation:
    terms = NetworkSettings.of(chosen)
    dane_client = LazyDaneClient(terms)
    dane = await find(chosen, dane_client, await ask() if chosen.dane.mode == "auto" else None)
    dane_lookup = (
        dane_client.look_up_dane if dane.on else "; ".join(filter(None, (dane.reason, dane.advice)))
    )
    async with network(terms) as (dns, fetcher):
        return await explain(domain, dns.txt, fetcher.body, dane_lookup, rule(chosen))
