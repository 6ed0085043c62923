"""Have the running Postfix probe a domain."""

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.postfix.smtp_client.values import MainCf
from postfix_mta_sts.values import Value


class PostfixWords(Value, frozen=True):
    """What the running Postfix says after it has probed the domain itself."""

    status: str | None
    """`deliverable`, `undeliverable` and so on; None: no answer in the log."""
    dsn: str = ""
    relay: str = ""
    text: str = ""
    error: str = ""


async def ask_postfix(_: Domain, __: MainCf) -> PostfixWords:
    """Ask."""
    return PostfixWords(None)
