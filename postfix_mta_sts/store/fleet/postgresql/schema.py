"""The tables of a shared store in PostgreSQL, and the text with which their owner makes them.

The owner runs `postfix-mta-sts fleet schema --role USER | psql`; a relay has another role, which
may read and write rows and no more. A migration is never changed: a new one is appended, and each
database has those that it lacks carried out in one transaction. This module is text only.
"""

import hashlib
from typing import Final

DEFAULT_ROLE: Final = "mta_sts"
"""Of the relays, if `fleet.url` names none."""
_LONGEST: Final = 8 * 1024 * 1024
"""Bytes that a record may have in the table: four times the longest that a relay accepts
(`engine.LIMITS`), so that a stranger's row costs a database no more than that."""

_HEADER: Final = (  # in any form, see `envelope`
    r"^mta-sts [1-9][0-9]? (?:-|[0-9a-f]{8}) (0|[1-9][0-9]{0,15}) (?:-|[0-9a-f]{64})\n"
)
# `order_number` is the order in the header of the record, NULL if there is no such header: a row
# that is no record, whatever wrote it, keeps no record out. The pattern is quoted with dollars,
# because what a backslash means in other literals is a setting of the session.
# The indexes leave `uses.asked_at` out, so that noting a use changes no index (a HOT update).
_TABLES: Final = f"""
    CREATE TABLE IF NOT EXISTS records (
        kind text COLLATE "C" NOT NULL,
        key text COLLATE "C" NOT NULL,
        record bytea NOT NULL CHECK (octet_length(record) <= {_LONGEST}),
        order_number bigint GENERATED ALWAYS AS (
            substring(
                encode(substring(record FROM 1 FOR 102), 'escape')
                FROM $re${_HEADER}$re$
            )::bigint
        ) STORED,
        expires_at bigint NOT NULL,
        PRIMARY KEY (kind, key)
    );
    CREATE INDEX IF NOT EXISTS records_expires_at ON records (expires_at);
    CREATE TABLE IF NOT EXISTS uses (
        domain text COLLATE "C" PRIMARY KEY,
        asked_at bigint NOT NULL,
        due_at bigint
    ) WITH (fillfactor = 70);
    CREATE INDEX IF NOT EXISTS uses_due_at ON uses (due_at) WHERE due_at IS NOT NULL;
    CREATE INDEX IF NOT EXISTS uses_not_due ON uses (domain) WHERE due_at IS NULL;
    CREATE UNLOGGED TABLE IF NOT EXISTS leases (
        domain text COLLATE "C" PRIMARY KEY,
        token text NOT NULL,
        ends_at bigint NOT NULL
    ) WITH (fillfactor = 50);
"""
MIGRATIONS: Final = (_TABLES,)
"""The first makes version 1 of the schema out of nothing, each other the next version."""
VERSION: Final = len(MIGRATIONS)
"""Of the schema that this program needs."""


def quoted(name: str) -> str:
    """Quote an identifier (PostgreSQL, "Lexical Structure", 4.1.1)."""
    return '"' + name.replace('"', '""') + '"'


def schema_sql(prefix: str, role: str | None) -> str:
    """Return one transaction that makes the tables, or brings them to `VERSION`.

    It may run again, and in several places at once. `prefix` is the name of the schema; `role`, if
    given, must exist, and gets the rights that a relay needs.
    """
    schema = quoted(prefix)
    return "\n".join(
        [
            f"-- The tables of postfix-mta-sts in the schema {schema}, version {VERSION}.",
            "BEGIN;",
            "SET LOCAL client_min_messages = warning;",
            f"SELECT pg_advisory_xact_lock({_lock(prefix)});",
            f"CREATE SCHEMA IF NOT EXISTS {schema};",
            f"SET LOCAL search_path = {schema};",
            _VERSIONS,
            *(_migration(number, text) for number, text in enumerate(MIGRATIONS, start=1)),
            *(_grants(schema, quoted(role)) if role is not None else ()),
            "COMMIT;",
            "",
        ]
    )


_VERSIONS: Final = f"""
CREATE TABLE IF NOT EXISTS version (
    version integer PRIMARY KEY,
    made_at timestamptz NOT NULL DEFAULT now()
);
DO $check$ BEGIN
    IF EXISTS (SELECT FROM version WHERE version > {VERSION}) THEN
        RAISE EXCEPTION 'a newer version of postfix-mta-sts has made these tables';
    END IF;
END $check$;"""


def _migration(number: int, text: str) -> str:
    return f"""
DO $migration$ BEGIN
    IF EXISTS (SELECT FROM version WHERE version >= {number}) THEN RETURN; END IF;
{text}
    INSERT INTO version (version) VALUES ({number});
END $migration$;"""  # noqa: S608 (a constant number)


def _grants(schema: str, role: str) -> list[str]:
    return [
        "",
        f"GRANT USAGE ON SCHEMA {schema} TO {role};",
        f"GRANT SELECT ON version TO {role};",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON records, uses, leases TO {role};",
        "",
    ]


def _lock(prefix: str) -> int:
    """The number of the advisory lock of a schema: 63 bits that another program hardly uses."""
    digest = hashlib.sha256(f"postfix-mta-sts {prefix}".encode()).digest()
    return int.from_bytes(digest[:8]) >> 1
