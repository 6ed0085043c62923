"""Look-ups in a namespace, by each resolv.conf in a folder: `python -m tests.e2e.lookups FOLDER`.

It writes a JSON object, file name → row. It also runs what behaves as Docker's name server, and
holds the sockets of a server that never answers.
"""

import asyncio
import contextlib
import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from postfix_mta_sts.config.settings import DaneSettings, DnsSettings, Settings
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import DnsFailureError, NoRecordError
from postfix_mta_sts.network.clients import LazyDaneClient
from postfix_mta_sts.network.dns import DnsClient
from postfix_mta_sts.network.settings import NetworkSettings
from postfix_mta_sts.postfix.dane import check_status
from tests.e2e.passing_on import DOCKER, pass_on
from tests.e2e.resolvers import SILENT, UNBOUND

LINK_LOCAL: Final = "fe80::53%lo"
DOMAINS: Final = {
    "a record": "good.test",
    "a CNAME": "alias.good.test",
    "a long answer": "long.good.test",
    "not signed": "plain.test",
    "no record": "none.good.test",
    "no such name": "absent.good.test",
    "a bad signature": "expired.test",
    "a silent zone": "dead.test",
}
"""Column of the table → Policy Domain."""
SETTINGS: Final = Settings(dns=DnsSettings(timeout=4.0), dane=DaneSettings(mode="on"))


async def row(resolv_conf: Path) -> dict[str, str]:
    """What the daemon finds by this file."""
    dns = DnsClient((), SETTINGS.dns.timeout, resolv_conf=resolv_conf)
    outcomes = [_outcome(dns, Domain(domain)) for domain in DOMAINS.values()]
    dane, *found = await asyncio.gather(_dane(resolv_conf), *outcomes)
    return dict(zip(DOMAINS, found, strict=True)) | {"DANE": dane}


async def _outcome(dns: DnsClient, domain: Domain) -> str:
    try:
        answer = await dns.look_up_txt(domain)
    except NoRecordError:
        return "none"
    except DnsFailureError:
        return "failure"
    return "found" if b"v=STSv1; id=1;" in answer.texts else "something else"


async def _dane(resolv_conf: Path) -> str:
    """Whether DANE is on with these servers, and if so, the verdict of the good domain."""
    client = LazyDaneClient(NetworkSettings.of(SETTINGS), resolv_conf)
    status = await check_status(SETTINGS, client, None)
    if not status.on or not status.is_final:
        return f"{'on' if status.on else 'off'}: {status.reason.partition(':')[0]}"
    outcome = await client.look_up_dane(Domain("good.test"))
    return f"on, verdict {outcome.kind.value}"


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.create_server((SILENT, 53)),
    ):
        udp.bind((SILENT, 53))
        yield


async def main(folder: Path) -> dict[str, dict[str, str]]:
    """Run the servers, and return the rows."""
    for address in (DOCKER, LINK_LOCAL):
        await pass_on(address, UNBOUND)
    files = sorted(folder.iterdir())
    with _silence():
        rows = await asyncio.gather(*map(row, files))
    return dict(zip([each.name for each in files], rows, strict=True))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(main(Path(sys.argv[1])))))
