"""DNS clients for tests, and the one good record that their server has."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.network.dns import DnsClient

GOOD = Domain("good.test")
NAME = "_mta-sts.good.test"
QUERY = (NAME, "TXT")
RECORD = '"v=STSv1; id=20260101;"'


class Clock:
    """Monotonic seconds that advance only when a test changes `now`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """The time."""
        return self.now


@asynccontextmanager
async def open_client(
    *nameservers: str,
    timeout: float = 20.0,  # noqa: ASYNC109 (of the client's queries)
    clock: Clock | None = None,
) -> AsyncIterator[DnsClient]:
    """A client of these name servers, closed at the end."""
    dns = DnsClient(nameservers, timeout, clock=clock or Clock())
    yield dns
