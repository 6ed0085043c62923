"""What an error of PostgreSQL, or of a pooler before it, means for a relay.

It decides by the SQLSTATE (PostgreSQL, appendix A), because the messages are in the language of the
server. A message is shown after `printable`; details and hints of the server are left out, because
they may quote a row.
"""

import os
import ssl
from typing import Final

from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.store.fleet import tls_faults
from postfix_mta_sts.store.fleet.errors import (
    CannotServeError,
    DeniedError,
    FleetError,
    NoGrantError,
    NotReachedError,
    SchemaError,
)

SCHEMA_COMMAND: Final = "postfix-mta-sts fleet schema --role USER | psql"

_DENIED: Final = ("28", "3D")
"""Classes: authorization (also pg_hba.conf), and a database that does not exist."""
_NO_RIGHT: Final = "42501"
_NO_SCHEMA: Final = ("3F000", "42P01", "42703", "42883", "42P10", "428C9")
"""No such schema, table, column, function; no such unique index; a column that was another."""
_GONE: Final = ("08", "57P01", "57P02", "57P05")
"""Classes and codes of a connection that has ended: lost, shutdown, crash, idle for too long."""
_SAID: Final = {
    "25006": "read-only (a standby?)",
    "53100": "disk full",
    "53200": "out of memory",
    "53300": "too many connections",
    "55P03": "a lock was not free in time",
    "57014": "statement cancelled, or longer than statement_timeout",
    "57P03": "starting up or shutting down",
}


def fault_of(sqlstate: str, message: str) -> FleetError:
    """Say what an error of the server means."""
    said = printable(message.partition("\n")[0])
    if sqlstate == _NO_RIGHT:
        return NoGrantError(f"PostgreSQL: {said}; the owner of the tables runs {SCHEMA_COMMAND}")
    if sqlstate.startswith(_DENIED) or _is_refused_by_pooler(sqlstate, message):
        return DeniedError(f"PostgreSQL refuses this relay: {said}", _mend_of_login(message))
    if sqlstate in _NO_SCHEMA:
        return SchemaError(f"PostgreSQL: {said}; the owner of the tables runs {SCHEMA_COMMAND}")
    if sqlstate.startswith(_GONE):
        return NotReachedError(f"PostgreSQL has ended the connection: {said}")
    lead = _SAID.get(sqlstate, f"error {printable(sqlstate, 5)}")
    return CannotServeError(f"PostgreSQL cannot serve, {lead}: {said}")


def _mend_of_login(message: str) -> str:
    """Say what lets this relay in, if the message is in English."""
    if "pg_hba.conf" in message:
        return "compare role and database in fleet.url; let pg_hba.conf have its line, and reload"
    if "authentication failed" in message:
        ours = "the role in fleet.url and the password in fleet.password_file"
        return f"compare {ours} with those in PostgreSQL, and in auth_file of PgBouncer"
    if "database" in message:
        return "write the name of the database into fleet.url, or make it: createdb"
    return ""


def _is_refused_by_pooler(sqlstate: str, message: str) -> bool:
    """Whether PgBouncer refuses a login: before 1.21 it gives all its errors this SQLSTATE."""
    words = ("authentication failed", "no such user", "no such database", "SASL", "pg_hba.conf")
    return sqlstate == "08P01" and any(each in message for each in words)


def fault_of_connection(error: OSError | ValueError) -> FleetError:
    """Say what an error before the server's first word means."""
    if isinstance(error, ssl.SSLCertVerificationError):
        said = printable(error.verify_message)
        return DeniedError(f"TLS to PostgreSQL: {said}", tls_faults.mend_of(error))
    if isinstance(error, ssl.SSLError):
        said = printable(str(error))
        return DeniedError(f"TLS to PostgreSQL: {said}", tls_faults.mend_of(error))
    if "rejected SSL upgrade" in str(error):
        mend = "set ssl = on and a certificate in postgresql.conf, or client_tls_… in pgbouncer.ini"
        return DeniedError("PostgreSQL offers no TLS (its setting ssl is off)", mend)
    if isinstance(error, TimeoutError):
        return NotReachedError("PostgreSQL does not answer in time")
    # That of asyncio names the address instead of the reason.
    number = (error.errno or 0) if isinstance(error, OSError) else 0
    reason = os.strerror(number) if number > 0 else str(error)
    return NotReachedError(f"PostgreSQL is not reachable: {printable(reason)}")


def check_version(found: int | None, needed: int) -> None:
    """Compare the version of the tables with that of this program; raise `SchemaError`."""
    if found is not None and found > needed:
        raise SchemaError(
            f"PostgreSQL: the tables have version {found}, this relay knows {needed}; upgrade it",
            "upgrade postfix-mta-sts on this relay",
        )
    if found != needed:
        raise SchemaError(
            f"PostgreSQL: the tables have version {found or 'none'}, this relay needs {needed};"
            f" their owner runs {SCHEMA_COMMAND}"
        )
