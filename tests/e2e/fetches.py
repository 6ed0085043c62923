"""Fetches policies in the namespace, as the network process does, without the daemon.

    python -m tests.e2e.fetches CA_FILE < ADDRESSES

reads a JSON object of domains and the addresses of their Policy Hosts, and prints one of domains
and reasons; the reason of a policy that was accepted is empty.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.network.https import PolicyFetcher
from tests.e2e.namespace import Namespace
from tests.support.fetchers import refusal


def fetches(inside: Namespace, ca_file: Path, addresses: Mapping[str, str]) -> dict[str, str]:
    """Return, for each domain, why its policy was not accepted; empty if it was."""
    command = inside.command(sys.executable, "-m", "tests.e2e.fetches", ca_file)
    done = subprocess.run(
        command, input=json.dumps(addresses), check=True, stdout=subprocess.PIPE, text=True
    )
    reasons: dict[str, str] = json.loads(done.stdout)
    return reasons


async def _fetch_all(authorities: str, addresses: Mapping[str, str]) -> dict[str, str]:
    async def look_up(host: str) -> Sequence[str]:
        return [addresses[host.removeprefix("mta-sts.")]]

    fetcher = PolicyFetcher(look_up, authorities=authorities, allow_private_addresses=True)
    return {domain: await refusal(fetcher, Domain(domain)) for domain in addresses}


if __name__ == "__main__":
    found = asyncio.run(_fetch_all(Path(sys.argv[1]).read_text(), json.load(sys.stdin)))
    sys.stdout.write(json.dumps(found))
