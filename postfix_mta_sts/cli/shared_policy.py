"""The lines of `policy show` about what the shared store has of a domain."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from postfix_mta_sts.admin.times import ago, dated

_USES: Final = {
    "same": "the same as here",
    "newer": "newer than here: taken at the next check, if the record of the domain names it",
}


def lines(shared: Mapping[str, Any], now: float) -> Iterator[tuple[str, object]]:
    """Yield them."""
    policy, state = shared["policy"], shared["state"]
    if policy is None:
        yield "shared", _WITHOUT[state] + (f": {shared['reason']}" if shared["reason"] else "")
        return
    use = _USES.get(state) or f"not used here: {shared['reason']}"
    yield "shared", f"{policy['mode']}, id {policy['id']}; {use}"
    fetched = dated(policy["fetched_at"], ago(policy["fetched_at"], now))
    if policy["fetched_by"]:
        yield "", f"fetched by {policy['fetched_by']} at {fetched}"
    else:
        yield "", f"fetched at {fetched}, given by {policy['given_by']}"


_WITHOUT: Final = {
    "none": "the shared store has no policy of it",
    "refused": "the shared store has a record that is refused",
    "unavailable": "not known: the shared store did not answer",
}
