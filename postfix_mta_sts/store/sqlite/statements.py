"""The SQL statements of a SQLite store.

`schema` creates the tables; `store` executes the statements.
"""

from postfix_mta_sts.mtasts.policy import Mode
from postfix_mta_sts.store import MAX_HISTORY

# The columns of `rows.Columns`. quote() writes a number so that it reads back unchanged.
_RAW = """
        CAST(policy_id AS TEXT), CAST(policy AS TEXT), quote(fetched_at), quote(refetch_at),
        CAST(dane AS TEXT), CAST(failures AS TEXT)
"""
# One result row for all domains: after each row SQLite's thread waits for the interpreter's lock.
LOAD = f"""
    SELECT json_group_array(json_array(
        domain, {_RAW}
    )) FROM policies WHERE domain IN (SELECT value FROM json_each(?))
"""  # noqa: S608 (constant columns)
SAVE = """
    INSERT INTO policies
        (domain, policy_id, policy, fetched_at, refetch_at, expires_at, asked_at, dane, failures)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (domain) DO UPDATE SET
        policy_id = excluded.policy_id,
        policy = excluded.policy,
        fetched_at = excluded.fetched_at,
        refetch_at = excluded.refetch_at,
        expires_at = excluded.expires_at,
        asked_at = max(policies.asked_at, excluded.asked_at),
        dane = excluded.dane,
        failures = excluded.failures
        WHERE excluded.fetched_at >= policies.fetched_at OR policies.fetched_at > ?
"""
ADD_TO_HISTORY = """
    INSERT INTO history (domain, policy_id, mode, mx, seen_from, seen_to)
        VALUES (?1, ?2, ?3, ?4, ?5, ?5)
    ON CONFLICT DO UPDATE SET
        seen_from = min(seen_from, excluded.seen_from),
        seen_to = max(seen_to, excluded.seen_to)
"""
TRIM_HISTORY = f"""
    DELETE FROM history WHERE domain = ?1 AND (seen_to, policy_id, mode, mx) <= (
        SELECT seen_to, policy_id, mode, mx FROM history WHERE domain = ?1
        ORDER BY 1 DESC, 2 DESC, 3 DESC, 4 DESC LIMIT 1 OFFSET {MAX_HISTORY}
    )
"""  # noqa: S608 (a constant number)
NOTE = """
    UPDATE policies SET refetch_at = ?, dane = ?, failures = ?
    WHERE domain = ? AND fetched_at = ?
"""
# The parameter is a JSON object of domains and their `LastAsked`. One statement for all, as in
# LOAD: each of thousands of statements would wait for that lock. json_extract instead of ->>,
# which needs SQLite 3.38 (RHEL 9 has 3.34).
TOUCH = """
    UPDATE policies SET
        asked_at = max(policies.asked_at, asked.at),
        asked_count = asked_count + asked.times
    FROM (
        SELECT
            key AS domain,
            json_extract(value, '$.at') AS at,
            json_extract(value, '$.times') AS times
        FROM json_each(?)
    ) AS asked
    WHERE policies.domain = asked.domain
"""
DUE = """
    SELECT domain FROM policies
    WHERE refetch_at <= ? AND asked_at >= ? AND expires_at > ?
    ORDER BY refetch_at LIMIT ?
"""
ROWS = f"""
    SELECT domain, asked_at, asked_count, {_RAW}
    FROM policies
"""  # noqa: S608 (constant columns)
ROW = f"{ROWS} WHERE domain = ?"
PAGE = f"""
    {ROWS} INDEXED BY policies_listed
    WHERE domain > ?1 AND expires_at > ?2 AND (?3 IS NULL OR mode = ?3)
        AND (?4 IS NULL OR expires_at < ?4)
    ORDER BY domain LIMIT ?5
"""
HISTORY = """
    SELECT policy_id, mode, mx, seen_from, seen_to FROM history
    WHERE domain = ? ORDER BY seen_to DESC
"""
# GROUP BY would sort all rows first.
_COUNTS = ", ".join(f"count(*) FILTER (WHERE mode = '{mode}')" for mode in Mode)
BY_MODE = f"""
    SELECT {_COUNTS} FROM policies INDEXED BY policies_listed WHERE expires_at > ?
"""  # noqa: S608 (constant names)
OLDEST = """
    SELECT fetched_at FROM policies INDEXED BY policies_due
    WHERE asked_at >= ? AND expires_at > ? ORDER BY refetch_at LIMIT 1
"""
FORGET_HISTORY = "DELETE FROM history WHERE domain = ?"
FORGET = "DELETE FROM policies WHERE domain = ?"
REMOVE_EXPIRED_HISTORY = """
    DELETE FROM history WHERE domain IN (
        SELECT domain FROM policies WHERE expires_at < ? LIMIT ?
    )
"""
REMOVE_EXPIRED = """
    DELETE FROM policies WHERE rowid IN (
        SELECT rowid FROM policies WHERE expires_at < ? LIMIT ?
    )
"""
REMOVE_UNREADABLE = "DELETE FROM policies WHERE domain = ? AND fetched_at = ?"
