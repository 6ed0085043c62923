"""The SQL statements of a SQLite store.

`layout` creates the tables; `reads` and `writes` execute the statements.
"""

from postfix_mta_sts.mtasts.policy import Mode
from postfix_mta_sts.store import MAX_HISTORY
from postfix_mta_sts.store.sqlite.layout import DAY_COLUMNS

# The columns of `rows.Columns`. quote() writes a number so that it reads back unchanged.
_RAW = """
        CAST(policy_id AS TEXT), CAST(policy AS TEXT), quote(fetched_at), quote(refetch_at),
        quote(claimed_at), CAST(dane AS TEXT), CAST(failures AS TEXT), hex(digest)
"""
# One result row for all domains: after each row SQLite's thread waits for the interpreter's lock.
LOAD = f"""
    SELECT json_group_array(json_array(
        domain, {_RAW}
    )) FROM policies WHERE domain IN (SELECT value FROM json_each(?))
"""  # noqa: S608 (constant columns)
LOAD_ONE = f"SELECT {_RAW} FROM policies WHERE domain = ?"  # noqa: S608 (the same)
# The parameters are those of `rows.columns_of`, then asked_at, now, and checked_at.
SAVE = """
    INSERT INTO policies
        (domain, policy_id, policy, fetched_at, refetch_at, expires_at, claimed_at, dane, failures,
         digest, asked_at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
    ON CONFLICT (domain) DO UPDATE SET
        policy_id = excluded.policy_id,
        policy = excluded.policy,
        fetched_at = excluded.fetched_at,
        refetch_at = excluded.refetch_at,
        expires_at = excluded.expires_at,
        claimed_at = excluded.claimed_at,
        dane = excluded.dane,
        failures = excluded.failures,
        digest = excluded.digest,
        asked_at = CASE
            WHEN policies.asked_at > ?12 THEN excluded.asked_at -- from the future
            ELSE max(policies.asked_at, excluded.asked_at)
        END
        WHERE excluded.fetched_at >= policies.fetched_at OR policies.fetched_at > ?13
"""
# The parameters are those of `rows.columns_of`, then asked_at, asked_count, and the day columns.
TAKE_OVER = f"""
    INSERT OR IGNORE INTO policies
        (domain, policy_id, policy, fetched_at, refetch_at, expires_at, claimed_at, dane, failures,
         digest, asked_at, asked_count, {", ".join(DAY_COLUMNS)})
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?{", ?" * len(DAY_COLUMNS)})
"""  # noqa: S608 (constant columns)
TAKE_OVER_HISTORY = "INSERT OR IGNORE INTO history VALUES (?, ?, ?, ?, ?, ?)"
TIMES = "SELECT fetched_at, claimed_at FROM policies WHERE domain = ?"
# The parameters are those of `rows.columns_of`.
UPDATE = """
    UPDATE policies SET
        policy_id = ?2, policy = ?3, fetched_at = ?4, refetch_at = ?5, expires_at = ?6,
        claimed_at = ?7, dane = ?8, failures = ?9, digest = ?10
    WHERE domain = ?1
"""
ADD_TO_HISTORY = """
    INSERT INTO history (domain, policy_id, mode, mx, seen_from, seen_to)
        VALUES (?1, ?2, ?3, ?4, ?5, ?5)
    ON CONFLICT DO UPDATE SET
        seen_from = min(seen_from, excluded.seen_from),
        seen_to = CASE
            WHEN seen_to > ?6 THEN excluded.seen_to -- from the future
            ELSE max(seen_to, excluded.seen_to)
        END
"""
TRIM_HISTORY = f"""
    DELETE FROM history WHERE domain = ?1 AND (seen_to, policy_id, mode, mx) <= (
        SELECT seen_to, policy_id, mode, mx FROM history WHERE domain = ?1
        ORDER BY 1 DESC, 2 DESC, 3 DESC, 4 DESC LIMIT 1 OFFSET {MAX_HISTORY}
    )
"""  # noqa: S608 (a constant number)
DAY_BITS = 20
"""The lowest bits of a day column are the day, which has 15 bits in 2026; the others the count."""
# One statement for each day column. The parameters are a JSON object of domains and their
# `LastAsked`, now, and the day. One statement for all domains, as in LOAD: each of thousands of
# statements would wait for that lock. json_extract instead of ->>, which needs SQLite 3.38 (RHEL 9
# has 3.34).
_TOUCH = """
    UPDATE policies SET
        asked_at = CASE
            WHEN policies.asked_at > ?2 THEN asked.at -- from the future
            ELSE max(policies.asked_at, asked.at)
        END,
        asked_count = asked_count + asked.times,
        {column} = CASE WHEN {column} & {mask} = ?3 THEN {column} ELSE ?3 END
            + (asked.times << {bits})
    FROM (
        SELECT
            key AS domain,
            json_extract(value, '$.at') AS at,
            json_extract(value, '$.times') AS times
        FROM json_each(?1)
    ) AS asked
    WHERE policies.domain = asked.domain
"""
DAY_MASK = (1 << DAY_BITS) - 1
TOUCH = [_TOUCH.format(column=name, mask=DAY_MASK, bits=DAY_BITS) for name in DAY_COLUMNS]
DUE = """
    SELECT domain FROM policies
    WHERE refetch_at <= ? AND asked_at >= ? AND expires_at > ?
    ORDER BY refetch_at LIMIT ?
"""
_DAYS = ", ".join(DAY_COLUMNS)
ROWS = f"""
    SELECT CAST(domain AS TEXT), asked_at, ifnull(asked_count, 0), {_DAYS}, {_RAW}
    FROM policies
"""  # noqa: S608 (constant columns)
ROW = f"{ROWS} WHERE domain = ?"
PAGE = f"""
    {ROWS} INDEXED BY policies_listed
    WHERE domain > ?1 AND expires_at > ?2 AND (?3 IS NULL OR mode = ?3)
        AND (?4 IS NULL OR expires_at < ?4) AND (?5 IS NULL OR asked_at >= ?5)
    ORDER BY domain LIMIT ?6
"""
_NUMBERED_ROWS = ROWS.replace("SELECT", "SELECT rowid,")
SCAN = f"{_NUMBERED_ROWS} WHERE rowid >= ? ORDER BY rowid"
STEP = f"{_NUMBERED_ROWS} WHERE rowid = ?"
HISTORY = """
    SELECT CAST(policy_id AS TEXT), CAST(mode AS TEXT), CAST(mx AS TEXT), seen_from, seen_to
    FROM history WHERE domain = ? ORDER BY seen_to DESC
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
# A row whose fetch time was from the future has an end that depends on the clock of that moment,
# until the row has that time.
_EXPIRED = """
    SELECT rowid, domain FROM policies
    WHERE expires_at < ?1
        AND (claimed_at IS NULL OR claimed_at > ?1 OR claimed_at = fetched_at) LIMIT ?2
"""
REMOVE_EXPIRED_HISTORY = f"""
    DELETE FROM history WHERE domain IN (SELECT domain FROM ({_EXPIRED}))
"""  # noqa: S608 (a constant query)
REMOVE_EXPIRED = f"""
    DELETE FROM policies WHERE rowid IN (SELECT rowid FROM ({_EXPIRED}))
"""  # noqa: S608 (the same)
_IDLE = """
    SELECT rowid, domain FROM policies
    WHERE asked_at < ?1 AND fetched_at < ?1 ORDER BY asked_at LIMIT ?2
"""
REMOVE_IDLE_HISTORY = f"""
    DELETE FROM history WHERE domain IN (SELECT domain FROM ({_IDLE}))
"""  # noqa: S608 (the same)
REMOVE_IDLE = f"""
    DELETE FROM policies WHERE rowid IN (SELECT rowid FROM ({_IDLE}))
"""  # noqa: S608 (the same)
OLDEST_ASKED = """
    SELECT rowid, length(CAST(policy AS BLOB)) FROM policies ORDER BY asked_at LIMIT ?
"""
# By rowid, which finds a row of any domain, damaged or not.
EVICT_HISTORY = """
    DELETE FROM history WHERE domain = (SELECT domain FROM policies WHERE rowid = ?)
"""
EVICT = "DELETE FROM policies WHERE rowid = ?"
IS_EMPTY = "SELECT NOT EXISTS (SELECT 1 FROM policies)"
