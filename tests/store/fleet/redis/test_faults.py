"""An error says what the system or TLS has said, and nothing that a server has sent."""

import errno
import ssl

import pytest

from postfix_mta_sts.store.fleet.errors import DeniedError, NotReachedError
from postfix_mta_sts.store.fleet.redis.faults import fault_of_opening, reason

OTHERWISE = "it is odd"


def tls_error(reason: str) -> ssl.SSLError:
    """An error as OpenSSL raises it."""
    error = ssl.SSLError(1, "what OpenSSL says")
    error.reason = reason
    return error


def raised_from(cause: BaseException) -> BaseException:
    """An error of a library, as it is raised when it has caught another."""
    try:
        try:
            raise cause
        except type(cause):
            raise RuntimeError("the secret that was sent back") from None
    except RuntimeError as error:
        return error


@pytest.mark.parametrize(
    ("cause", "says"),
    [
        (TimeoutError(), "no answer"),
        (TimeoutError(errno.ETIMEDOUT, "x"), "Connection timed out"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed"), "Connection refused"),
        (OSError("no number"), "no number"),
        (tls_error("WRONG_VERSION_NUMBER"), "TLS: WRONG_VERSION_NUMBER"),
        (KeyError("what was sent"), OTHERWISE),
    ],
)
def test_what_an_error_means(cause: BaseException, says: str) -> None:
    """The reason is that of the error in the chain that the system has raised."""
    for error in (cause, raised_from(cause)):
        assert reason(error, OTHERWISE).startswith(says)
        assert "secret" not in reason(error, OTHERWISE)


def test_tls_that_fails() -> None:
    """A handshake that fails is no outage: the error says what mends it."""
    fault = fault_of_opening("a:1", tls_error("UNSUPPORTED_PROTOCOL"), OTHERWISE)
    assert isinstance(fault, DeniedError)
    assert fault.mend
    assert str(fault).startswith("a:1: TLS: ")


def test_a_server_that_is_not_there() -> None:
    """The error names the server."""
    fault = fault_of_opening("a:1", raised_from(TimeoutError()), OTHERWISE)
    assert isinstance(fault, NotReachedError)
    assert str(fault) == "a:1: no answer"
