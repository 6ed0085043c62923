"""What ends the trouble with a store, as `fleet check` says it."""

import ssl

import pytest

from postfix_mta_sts.config.store_url import parse_store_url
from postfix_mta_sts.store.fleet.errors import (
    CannotServeError,
    DeniedError,
    FleetError,
    NoGrantError,
    NotReachedError,
    SchemaError,
)
from postfix_mta_sts.store.fleet.mending import mend_of
from postfix_mta_sts.store.fleet.postgresql.errors import (
    check_version,
    fault_of,
    fault_of_connection,
)
from postfix_mta_sts.store.fleet.redis.refusals import Refusal, login_refused
from postfix_mta_sts.store.fleet.tls_faults import mend_of as mend_of_tls

TLS = "rediss://mta_sts@store.example/0"
PLAIN = "redis://mta_sts@store.example/0"
SOCKET = "redis+unix:///run/redis.sock"
DATABASE = "postgresql://relays@db.example/mail%20data"


@pytest.mark.parametrize(
    ("error", "url", "part"),
    [
        (NotReachedError("x"), TLS, "is the port without TLS (redis://)"),
        (NotReachedError("x"), PLAIN, "is the port for TLS alone (rediss://)"),
        (NotReachedError("x"), SOCKET, "does it run"),
        (SchemaError("x"), DATABASE, "fleet schema --role relays | psql 'mail data'"),
        (NoGrantError("x"), "postgresql://db.example/mail", "--role mta_sts | psql mail"),
        (DeniedError("x"), TLS, "docs/fleet.md"),
        (DeniedError("x", "do this"), TLS, "do this"),
        (CannotServeError("x"), TLS, "the log of the store"),
    ],
)
def test_kinds(error: FleetError, url: str, part: str) -> None:
    """An error that says nothing more is mended by its kind, and by where the store is."""
    mend = mend_of(error, parse_store_url(url))
    assert part in mend
    assert ("TLS" in mend) == ("TLS" in part)


@pytest.mark.parametrize(
    ("error", "part"),
    [
        (login_refused("a:1", "WRONGPASS invalid username-password pair"), "fleet.password_file"),
        (login_refused("a:1", "ERR AUTH called without any password configured"), "fleet.password"),
        (login_refused("a:1", "NOPERM User x has no permissions to run the 'select'"), "+select"),
        (login_refused("a:1", "ERR DB index is out of range"), "database 0"),
        (Refusal("NOPERM No permissions to access a key").meaning("a:1"), "ACL line"),
        (Refusal("READONLY x").meaning("a:1"), "redis+sentinel://"),
        (Refusal("OOM x").meaning("a:1"), "maxmemory"),
        (Refusal("WRONGTYPE x").meaning("a:1"), "fleet.prefix"),
        (fault_of("28P01", 'password authentication failed for user "x"'), "fleet.password_file"),
        (fault_of("08P01", "SASL authentication failed"), "fleet.password_file"),
        (fault_of("28000", 'no pg_hba.conf entry for host "::1"'), "pg_hba.conf have its line"),
        (fault_of("3D000", 'database "mial" does not exist'), "the name of the database"),
        (fault_of_connection(ConnectionError("rejected SSL upgrade")), "ssl = on"),
    ],
)
def test_causes(error: FleetError, part: str) -> None:
    """A refusal that tells its cause has what mends this one."""
    assert part in error.mend
    assert error.mend.isprintable()


def test_tables_of_a_newer_program() -> None:
    """Tables that are newer than this relay are not made again: the relay is upgraded."""
    with pytest.raises(SchemaError) as raised:
        check_version(9, 1)
    assert mend_of(raised.value, parse_store_url(DATABASE)).startswith("upgrade")


def test_refused_connection() -> None:
    """The reason of a connection that is refused is that of the system, not that of asyncio."""
    error = fault_of_connection(ConnectionRefusedError(111, "Connect call failed ('::1', 1)"))
    assert str(error) == "PostgreSQL is not reachable: Connection refused"


@pytest.mark.parametrize(
    ("code", "part"),
    [(20, "fleet.ca_file"), (18, "fleet.ca_file"), (62, "name"), (10, "valid now"), (7, "openssl")],
)
def test_certificates(code: int, part: str) -> None:
    """What is wrong with a certificate says what to do."""
    error = ssl.SSLCertVerificationError(1, "x")
    error.verify_code = code
    assert part in mend_of_tls(error)


def test_no_tls() -> None:
    """Another error of the handshake is most likely a port without TLS."""
    assert "speak TLS" in mend_of_tls(ssl.SSLError(1, "WRONG_VERSION_NUMBER"))
