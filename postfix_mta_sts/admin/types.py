"""What a running daemon can be asked, and told to do, from the outside.

Border: questions of `commands`, each answered in plain data (what JSON can be; times are whole
epoch seconds), the same whether it was said here or by another process. `plain` knows the data's
form, `witness` asks one process, `control` all of a daemon, `routes` is the way in by HTTP.
"""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.policy import Mode
from postfix_mta_sts.stats import Snapshot

JsonObject: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PolicyFilter:
    """Which policies are to be listed: those that fit all that is said."""

    mode: Mode | None = None
    failing: bool = False
    """Only those whose last attempt failed, and domains without a policy for that reason."""
    expiring_in: int | None = None
    """Only those that expire within so many seconds."""


class Witness(Protocol):
    """A process of this daemon: what it alone knows, and can do in its own memory.

    Raises `ControlError` where it is another one that does not answer.
    """

    async def snapshot(self) -> Snapshot:
        """Its numbers."""

    async def known(self, domain: Domain) -> JsonObject:
        """What stands in its memory, as `plain.of_known` has it."""

    def failing(self) -> AsyncGenerator[JsonObject]:
        """Of what stands in its memory, as `plain.of_entry` has it, what fails; by domain."""

    async def forget(self, domain: Domain) -> bool:
        """Know nothing of a domain any more; whether anything was known."""

    async def unlearn(self, domain: Domain) -> None:
        """Have a domain no more in memory, so that it is read from the store when asked for."""
