"""The names of errors in reports, and how text from the network is shown."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.mtasts import errors
from postfix_mta_sts.mtasts.errors import DiscoveryError, FetchError, MtaStsError, printable

FETCH_ERROR = "sts-policy-fetch-error"
RESULTS: dict[type[DiscoveryError | FetchError], str] = {
    errors.NoRecordError: FETCH_ERROR,
    errors.InvalidRecordError: "sts-policy-invalid",
    errors.DnsFailureError: FETCH_ERROR,
    errors.OwnFaultError: FETCH_ERROR,
    errors.HostNotFoundError: FETCH_ERROR,
    errors.ForbiddenAddressError: FETCH_ERROR,
    errors.UnreachableError: FETCH_ERROR,
    errors.DeadlineError: FETCH_ERROR,
    errors.TlsError: FETCH_ERROR,
    errors.CertificateError: "sts-webpki-invalid",
    errors.StatusError: FETCH_ERROR,
    errors.MediaTypeError: "sts-policy-invalid",
    errors.TooLargeError: FETCH_ERROR,
    errors.IncompleteError: FETCH_ERROR,
    errors.InvalidPolicyError: "sts-policy-invalid",
}


@pytest.mark.parametrize("error", [*DiscoveryError.__subclasses__(), *FetchError.__subclasses__()])
def test_result_types(error: type[DiscoveryError | FetchError]) -> None:
    """Each error has the result type of RFC 8460 §4.3 that fits it (L3, L4, L5)."""
    assert error.result == RESULTS[error]


def test_codes() -> None:
    """Each error has a code of its own, on which programs can rely."""
    leaves = [*RESULTS, errors.InvalidDomainError]
    assert len({leaf.code for leaf in leaves}) == len(leaves)
    assert all(re.fullmatch(r"[a-z-]+", leaf.code) for leaf in leaves)


def test_the_line_of_a_policy() -> None:
    """Line 0 means the whole file, and is not in the text."""
    assert str(errors.InvalidPolicyError(3, "no colon")) == "line 3: no colon"
    assert str(errors.InvalidPolicyError(0, "no mode field")) == "no mode field"


@given(st.binary() | st.text(), st.integers(3, 300))
def test_printable(data: bytes | str, limit: int) -> None:
    """Any text becomes one line of printable ASCII, of bounded length."""
    shown = printable(data, limit)
    assert re.fullmatch(r"[ -~]*", shown)
    assert len(shown) <= 4 * limit


def test_one_tree() -> None:
    """Every error is a subclass of `MtaStsError`."""
    assert all(issubclass(leaf, MtaStsError) for leaf in RESULTS)
