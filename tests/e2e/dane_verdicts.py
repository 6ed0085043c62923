"""Runs the daemon's DANE client in the namespace, without the daemon.

    python -m tests.e2e.dane_verdicts NAMESERVER DOMAIN...

prints, as JSON, whether the name server validates, and the verdict on each domain.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence

from postfix_mta_sts.mtasts.dane import DaneKind
from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.network.dane import DaneClient
from postfix_mta_sts.network.dnssec import DnssecClient
from tests.e2e.namespace import Namespace


def dane_verdicts(
    inside: Namespace, nameserver: str, domains: Sequence[str]
) -> tuple[bool, dict[str, DaneKind]]:
    """Return whether a name server validates, and its verdict on each domain."""
    command = inside.command(sys.executable, "-m", "tests.e2e.dane_verdicts", nameserver, *domains)
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    validates, kinds = json.loads(done.stdout)
    return validates, {domain: DaneKind(kind) for domain, kind in kinds.items()}


async def _look_up(nameserver: str, domains: Sequence[str]) -> tuple[bool, dict[str, DaneKind]]:
    dns = DnssecClient([nameserver])
    dane = DaneClient(dns)
    kinds = {domain: (await dane.look_up_dane(parse_domain(domain))).kind for domain in domains}
    return await dns.validates(), kinds


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(_look_up(sys.argv[1], sys.argv[2:]))))
