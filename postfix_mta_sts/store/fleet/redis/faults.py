"""What went wrong with a connection, without a word of what the server has sent.

A server that is none of Redis may send back what it got: the password.
"""

import os
import ssl
from collections.abc import Iterator

from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.store.fleet import tls_faults
from postfix_mta_sts.store.fleet.errors import DeniedError, FleetError, NotReachedError


def fault_of_opening(address: str, error: BaseException, otherwise: str) -> FleetError:
    """Say why there is no connection; see `reason`."""
    said = f"{address}: {reason(error, otherwise)}"
    tls = _tls_error(error)
    return DeniedError(said, tls_faults.mend_of(tls)) if tls else NotReachedError(said)


def reason(error: BaseException, otherwise: str) -> str:
    """Say what an error means; `otherwise`, if it comes from none of the system or of TLS."""
    if tls := _tls_error(error):
        return f"TLS: {printable(getattr(tls, 'verify_message', '') or tls.reason or str(tls))}"
    for each in chain(error):
        if isinstance(each, TimeoutError) and not each.errno:
            return "no answer"
        if isinstance(each, OSError):
            # That of asyncio names the address instead of the reason.
            number = each.errno or 0
            known = os.strerror(number) if number > 0 else each.strerror
            return printable(known or str(each) or type(each).__name__)
    return otherwise


def chain(error: BaseException) -> Iterator[BaseException]:
    """Return an error, and what it was raised from."""
    found: BaseException | None = error
    while found:
        yield found
        found = found.__cause__ or found.__context__


def _tls_error(error: BaseException) -> ssl.SSLError | None:
    return next((each for each in chain(error) if isinstance(each, ssl.SSLError)), None)
