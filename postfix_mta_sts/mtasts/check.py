"""The last check of a domain: would Postfix hold its mail if its policy were enforced.

Values only. `admin.diagnosis.check` makes them, the store keeps the last one of each domain, and
the trial's report and the list of exceptions show them.
"""

import enum
from typing import Final

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.values import Value

CANNOT_CHECK: Final = "cannot-check"
"""`Check.cause` if a fault of this side ended the check."""


class CheckResult(enum.StrEnum):
    """What would happen to mail."""

    DELIVERED = "delivered"
    HELD = "held"
    """Or returned to its sender, and only because of the policy."""
    UNKNOWN = "unknown"
    """The check could not tell: the DNS or the network on this side did not work."""


class Check(Value, frozen=True):
    """The last check of one domain; all text is printable ASCII."""

    domain: Domain
    result: CheckResult
    sentence: str
    """The verdict in one sentence, as `query` words it, of at most 500 characters."""
    cause: str
    """See `admin.diagnosis.values.Verdict`, for this and for `fault`."""
    fault: str
    policy_id: str
    """The id of the policy that was tried; empty for a pin."""
    checked_at: float
    """Epoch seconds, for this and the next."""
    since: float
    """When the first of the checks in a row with this result was made."""
