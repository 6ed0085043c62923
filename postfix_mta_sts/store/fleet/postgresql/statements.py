"""The SQL statements of a relay.

`schema` makes the tables, `engine` executes the statements. Each is a
transaction of its own, names its tables in full and changes nothing in the session, so that it may
go through a pooler that gives each transaction another session. Parameters are texts, bytes,
numbers, and arrays of texts: for those asyncpg need not ask the server what they are.
"""

from typing import Final

from postfix_mta_sts.store.fleet.engine import FUTURE, LEASE
from postfix_mta_sts.store.fleet.postgresql.schema import quoted
from postfix_mta_sts.values import Value

SWEEP: Final = 1000
"""Rows of a table that one call of `due` removes at most. With a call a minute from each relay that
is more than expire; a million that expire at once take a fleet of ten an hour and a half."""

# now() is the start of the transaction, and a statement may have waited for a lock.
_NOW: Final = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_CLOCK: Final = f"clock AS MATERIALIZED (SELECT {_NOW} AS now)"
_ORDER_LIMIT: Final = 2**53  # of `envelope`


class Statements(Value, frozen=True, kw_only=True):
    """The statements for one schema; each says what its parameters are."""

    version: str
    """None. Returns the version of the tables."""
    read: str
    """Kinds, keys, bytes of each (as texts). Returns now, kind, key, record; at least one row."""
    put: str
    """Kinds, keys, records in hexadecimal, ends (as texts). Returns kind, key of what was kept."""
    remove: str
    """Kinds, keys. Returns how many there were."""
    discard: str
    """Kind, key, the record as far as it was read, its bytes at most."""
    page: str
    """Kind, key before the page, number of rows, bytes of each. Returns key, record."""
    claim: str
    """Domains, tokens, bytes of a policy. Returns now, domain, whether it is held, the policy, and
    whether there was a lease, of this or another token, when the statement began."""
    renew: str
    """Domain, token. Returns a row if it is held."""
    release: str
    """Domains, tokens."""
    note: str
    """Domains, when they were asked for, when they are due (as texts, or None)."""
    due: str
    """Asked since, number of rows. Returns domains; sweeps all tables."""


def statements(prefix: str) -> Statements:
    """Write the statements for a schema."""
    schema = quoted(prefix)
    records, uses, leases = (f"{schema}.{table}" for table in ("records", "uses", "leases"))
    return Statements(
        version=f"SELECT max(version) FROM {schema}.version",
        read=_read(records),
        put=_put(records),
        remove=_remove(records),
        discard=_discard(records),
        page=_page(records),
        claim=_claim(leases, records),
        renew=_renew(leases),
        release=_release(leases),
        note=_note(uses),
        due=_due(uses, records, leases),
    )


# ruff: noqa: S608 (below: table names of `statements`, and constant numbers)
def _read(records: str) -> str:
    return f"""
        WITH {_CLOCK}
        SELECT clock.now, found.kind, found.key, found.record FROM clock LEFT JOIN LATERAL (
            SELECT r.kind, r.key, substring(r.record FROM 1 FOR n.size::integer) AS record
            FROM unnest($1::text[], $2::text[], $3::text[]) AS n (kind, key, size)
            JOIN {records} AS r ON r.kind = n.kind AND r.key = n.key
            WHERE r.expires_at > clock.now
        ) AS found ON true
    """


def _put(records: str) -> str:
    """One statement decides and writes: a row is locked when its conditions are looked at."""
    return f"""
        INSERT INTO {records} AS r (kind, key, record, expires_at)
        SELECT kind, key, decode(record, 'hex'), expires_at::bigint
        FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
            AS n (kind, key, record, expires_at)
        ORDER BY kind COLLATE "C", key COLLATE "C"
        ON CONFLICT (kind, key) DO UPDATE
            SET record = excluded.record, expires_at = excluded.expires_at
            WHERE r.order_number IS NULL
                OR r.order_number >= {_ORDER_LIMIT}
                OR r.order_number < excluded.order_number
                OR r.expires_at <= {_NOW}
                OR r.kind = 'policy' AND r.order_number > {_NOW} + {FUTURE}
        RETURNING kind, key
    """


def _remove(records: str) -> str:
    return f"""
        WITH gone AS (
            DELETE FROM {records} AS r USING (
                SELECT kind, key FROM {records}
                JOIN unnest($1::text[], $2::text[]) AS n (kind, key) USING (kind, key)
                ORDER BY kind, key FOR UPDATE OF records
            ) AS named WHERE r.kind = named.kind AND r.key = named.key
            RETURNING r.expires_at > {_NOW} AS was_there
        )
        SELECT count(*) FILTER (WHERE was_there) FROM gone
    """


def _discard(records: str) -> str:
    return f"""
        DELETE FROM {records} WHERE kind = $1 AND key = $2
            AND substring(record FROM 1 FOR $4::integer) = $3::bytea
    """


def _page(records: str) -> str:
    return f"""
        WITH {_CLOCK}
        SELECT key, substring(record FROM 1 FOR $4::integer) FROM clock, {records}
        WHERE kind = $1 AND key > $2 AND expires_at > clock.now ORDER BY key LIMIT $3::bigint
    """


def _claim(leases: str, records: str) -> str:
    """A lease that ends later than any is none: the clock was set back, or a stranger wrote it."""
    return f"""
        WITH {_CLOCK}, wanted AS (
            SELECT domain, token FROM unnest($1::text[], $2::text[]) AS n (domain, token)
        ), taken AS (
            INSERT INTO {leases} AS l (domain, token, ends_at)
            SELECT domain, token, clock.now + {LEASE} FROM wanted, clock
            ORDER BY domain COLLATE "C"
            ON CONFLICT (domain) DO UPDATE SET token = excluded.token, ends_at = excluded.ends_at
                WHERE l.ends_at <= {_NOW} OR l.token = excluded.token
                    OR l.ends_at > {_NOW} + {LEASE}
            RETURNING domain
        )
        SELECT clock.now, wanted.domain, wanted.domain IN (SELECT domain FROM taken), (
            SELECT substring(record FROM 1 FOR $3::integer) FROM {records}
            WHERE kind = 'policy' AND key = wanted.domain AND expires_at > clock.now
        ), EXISTS (SELECT FROM {leases} AS l WHERE l.domain = wanted.domain) FROM clock, wanted
    """


def _release(leases: str) -> str:
    return f"""
        DELETE FROM {leases} AS l USING (
            SELECT domain, token FROM {leases}
            JOIN unnest($1::text[], $2::text[]) AS n (domain, token) USING (domain, token)
            ORDER BY domain FOR UPDATE OF leases
        ) AS own WHERE l.domain = own.domain AND l.token = own.token
    """


def _renew(leases: str) -> str:
    return f"""
        UPDATE {leases} SET ends_at = {_NOW} + {LEASE}
        WHERE domain = $1 AND token = $2 AND ends_at > {_NOW} RETURNING true
    """


def _note(uses: str) -> str:
    """Sorted, so that two relays that note the same domains wait for each other in one order."""
    return f"""
        INSERT INTO {uses} AS u (domain, asked_at, due_at)
        SELECT domain, coalesce(asked_at::bigint, 0), due_at::bigint
        FROM unnest($1::text[], $2::text[], $3::text[]) AS n (domain, asked_at, due_at)
        ORDER BY domain COLLATE "C"
        ON CONFLICT (domain) DO UPDATE SET
            asked_at = greatest(u.asked_at, excluded.asked_at),
            due_at = coalesce(excluded.due_at, u.due_at)
            WHERE u.asked_at < excluded.asked_at
                OR u.due_at IS DISTINCT FROM coalesce(excluded.due_at, u.due_at)
    """


def _due(uses: str, records: str, leases: str) -> str:
    """SKIP LOCKED: relays that sweep at the same time do not wait for each other.

    `(SELECT now FROM clock)` is evaluated once, so that an index finds the rows.
    """
    now = "(SELECT now FROM clock)"
    batch = f"LIMIT {SWEEP} FOR UPDATE SKIP LOCKED"
    return f"""
        WITH {_CLOCK}, idle AS (
            DELETE FROM {uses} WHERE domain IN (
                SELECT domain FROM {uses} WHERE due_at <= {now} AND asked_at < $1::bigint
                ORDER BY due_at {batch})
        ), never_due AS (
            DELETE FROM {uses} WHERE domain IN (
                SELECT domain FROM {uses} WHERE due_at IS NULL AND asked_at < $1::bigint {batch})
        ), expired AS (
            DELETE FROM {records} AS r USING (
                SELECT kind, key FROM {records} WHERE expires_at <= {now}
                ORDER BY expires_at {batch}
            ) AS old WHERE r.kind = old.kind AND r.key = old.key
        ), lapsed AS (
            DELETE FROM {leases} WHERE domain IN (
                SELECT domain FROM {leases} WHERE ends_at <= {now} {batch})
        )
        SELECT domain FROM {uses} WHERE due_at <= {now} AND asked_at >= $1::bigint
        ORDER BY due_at LIMIT $2::bigint
    """
