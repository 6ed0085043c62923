"""What ends the trouble with a shared store, for `fleet check`."""

import shlex
from typing import Final

from postfix_mta_sts.config.store_location import EngineName, StoreLocation
from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.store.fleet.errors import (
    CannotServeError,
    DeniedError,
    FleetError,
    NoGrantError,
    NotReachedError,
    SchemaError,
)
from postfix_mta_sts.store.fleet.postgresql.schema import DEFAULT_ROLE

_DENIED: Final = "docs/fleet.md has the user, the rights and the certificates that it takes"
_CANNOT_SERVE: Final = "the log of the store has more; it must be the primary, and have room"


def mend_of(error: FleetError, location: StoreLocation) -> str:
    """Return one line; empty, if nobody can say more than the error does."""
    if error.mend:
        return error.mend
    match error:
        case NotReachedError():
            return _way(location)
        case SchemaError() | NoGrantError():
            return f"the owner of the tables runs: {_schema(location)}"
        case DeniedError():
            return _DENIED
        case CannotServeError():
            return _CANNOT_SERVE
    return ""


def _way(location: StoreLocation) -> str:
    questions = "does fleet.url name the store, does it run, is there a firewall between"
    if location.path or location.engine is not EngineName.REDIS:
        return questions
    other = "without TLS (redis://)" if location.tls else "for TLS alone (rediss://)"
    return f"{questions}, is the port {other}"


def _schema(location: StoreLocation) -> str:
    role, database = location.user or DEFAULT_ROLE, location.database
    words = (shlex.quote(printable(each)) for each in (role, database))
    return "postfix-mta-sts fleet schema --role {} | psql {}".format(*words)
