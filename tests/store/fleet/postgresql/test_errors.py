"""What errors of PostgreSQL mean; the servers' own are in tests/fleet."""

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.store.fleet.errors import (
    CannotServeError,
    DeniedError,
    FleetError,
    NoGrantError,
    NotReachedError,
    SchemaError,
)
from postfix_mta_sts.store.fleet.postgresql.errors import (
    check_version,
    fault_of,
    fault_of_connection,
)


@pytest.mark.parametrize(
    ("sqlstate", "kind", "part"),
    [
        ("28P01", DeniedError, "refuses this relay"),
        ("28000", DeniedError, "refuses this relay"),
        ("3D000", DeniedError, "refuses this relay"),
        ("42501", NoGrantError, "fleet schema"),
        ("42P01", SchemaError, "fleet schema"),
        ("3F000", SchemaError, "fleet schema"),
        ("25006", CannotServeError, "read-only (a standby?)"),
        ("53100", CannotServeError, "disk full"),
        ("53200", CannotServeError, "out of memory"),
        ("53300", CannotServeError, "too many connections"),
        ("57P03", CannotServeError, "starting up"),
        ("57014", CannotServeError, "statement_timeout"),
        ("57P01", NotReachedError, "has ended the connection"),
        ("08006", NotReachedError, "has ended the connection"),
        ("XX000", CannotServeError, "error XX000"),
        ("", CannotServeError, "cannot serve"),
    ],
)
def test_sqlstate(sqlstate: str, kind: type[FleetError], part: str) -> None:
    """The SQLSTATE decides, whatever the language of the message."""
    fault = fault_of(sqlstate, "Nachricht")
    assert type(fault) is kind
    assert part in str(fault)
    assert "Nachricht" in str(fault)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("password authentication failed", DeniedError),
        ("no such user: x", DeniedError),
        ("no such database: x", DeniedError),
        ("query_wait_timeout", NotReachedError),
        ("no more connections allowed (max_client_conn)", NotReachedError),
    ],
)
def test_pgbouncer(message: str, kind: type[FleetError]) -> None:
    """PgBouncer gives all its errors one SQLSTATE."""
    assert type(fault_of("08P01", message)) is kind


@given(st.text(max_size=10), st.text())
def test_any_message(sqlstate: str, message: str) -> None:
    """What a server says becomes one printable line that is not long."""
    text = str(fault_of(sqlstate, message))
    assert text.isascii()
    assert text.isprintable()
    assert len(text) < 1000


def test_only_the_first_line() -> None:
    """Further lines may quote a row."""
    assert "secret" not in str(fault_of("23505", "duplicate key\nDETAIL: (secret)"))


@pytest.mark.parametrize(
    ("error", "kind", "part"),
    [
        (ConnectionRefusedError(111, "Connection refused"), NotReachedError, "refused"),
        (TimeoutError(), NotReachedError, "in time"),
        (ConnectionError("server rejected SSL upgrade"), DeniedError, "offers no TLS"),
        (ssl.SSLError(1, "[SSL] wrong version"), DeniedError, "TLS to PostgreSQL"),
        (ValueError("x\n"), NotReachedError, r"x\n"),
    ],
)
def test_before_the_first_word(error: OSError, kind: type[FleetError], part: str) -> None:
    """Errors of the system and of TLS."""
    fault = fault_of_connection(error)
    assert type(fault) is kind
    assert part in str(fault)


@pytest.mark.parametrize(
    ("found", "reason"), [(None, "version none"), (0, "version none"), (9, "upgrade it")]
)
def test_another_version(found: int | None, reason: str) -> None:
    """Each version but one's own is an error that says what to do."""
    check_version(2, 2)
    with pytest.raises(SchemaError, match=reason):
        check_version(found, 2)
