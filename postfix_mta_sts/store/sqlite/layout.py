"""The tables of a SQLite store: the migrations that make them, and the columns that we need."""

from collections.abc import Sequence
from typing import Final

from postfix_mta_sts.store.days import DAYS

# The policy with LF line ends and without blanks, and a LF before its first line. The name of a
# field contains no blanks, so that the mode is what follows the first line start with "mode:".
_FLAT = r"""
    char(10) || replace(replace(replace(policy, char(13), char(10)), ' ', ''), char(9), '')
"""

DAY_COLUMNS: Final = tuple(f"asked_{n}" for n in range(DAYS))
"""Of a day with the number n, the column n % DAYS has the count."""

SCHEMA: Final[Sequence[Sequence[str]]] = (
    (
        # With rowids: a policy may have 64 KiB, too much for a page of a WITHOUT ROWID table.
        """
        CREATE TABLE policies (
            domain TEXT NOT NULL PRIMARY KEY,
            policy_id TEXT NOT NULL,
            policy TEXT NOT NULL, -- as it was served
            fetched_at REAL NOT NULL, -- times are epoch seconds
            refetch_at REAL NOT NULL,
            expires_at REAL NOT NULL,
            asked_at REAL NOT NULL
        )
        """,
        # All columns that `due` reads, so that it never reads the table.
        "CREATE INDEX policies_due ON policies (refetch_at, asked_at, expires_at, domain)",
        "CREATE INDEX policies_expired ON policies (expires_at)",
    ),
    (
        "ALTER TABLE policies ADD COLUMN asked_count INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE policies ADD COLUMN dane TEXT",  # NULL: nothing is known
        # Virtual: computed from the policy, so that the migration writes no rows and the two never
        # differ.
        f"""
        ALTER TABLE policies ADD COLUMN mode TEXT GENERATED ALWAYS AS (
            CASE substr({_FLAT}, instr({_FLAT}, char(10) || 'mode:') + 6, 4)
                WHEN 'enfo' THEN 'enforce'
                WHEN 'test' THEN 'testing'
                WHEN 'none' THEN 'none'
            END
        ) VIRTUAL
        """,
        # All columns that lists and counts read. With a million rows it takes 1.5 s to create.
        "CREATE INDEX policies_listed ON policies (domain, mode, expires_at)",
        """
        CREATE TABLE history (
            domain TEXT NOT NULL,
            policy_id TEXT NOT NULL,
            mode TEXT NOT NULL,
            mx TEXT NOT NULL, -- separated by blanks
            seen_from REAL NOT NULL,
            seen_to REAL NOT NULL,
            PRIMARY KEY (domain, policy_id, mode, mx)
        ) WITHOUT ROWID
        """,
    ),
    # Quick, because no row is written: with a million rows it takes as long as the two indices.
    (
        "ALTER TABLE policies ADD COLUMN failures TEXT",  # NULL: the last attempt succeeded
        # What was noted as fetched_at by a clock that was ahead; NULL: it was not.
        "ALTER TABLE policies ADD COLUMN claimed_at REAL",
        # NULL: the row was written by an earlier version, and gets one when it is written next.
        "ALTER TABLE policies ADD COLUMN digest BLOB",
        "CREATE INDEX policies_asked ON policies (asked_at)",
        # The damaged file from which rows are still to be taken over.
        "CREATE TABLE takeover (path TEXT NOT NULL)",
        # The oldest schema whose programs can use this file.
        "CREATE TABLE compatible (since INTEGER NOT NULL)",
        "INSERT INTO compatible VALUES (3)",
    ),
    # Quick, too. Each has the look-ups of one day (`statements.TOUCH`); schema 3 counts
    # none.
    tuple(f"ALTER TABLE policies ADD COLUMN {name} INTEGER" for name in DAY_COLUMNS),
    # Quick: four tables without rows. Earlier versions leave them alone. The contents are values
    # as JSON, so that fields can be added.
    (
        """
        CREATE TABLE exceptions (
            scope TEXT NOT NULL PRIMARY KEY,
            content TEXT NOT NULL,
            digest BLOB NOT NULL
        )
        """,
        # One row: the log has all ends of exceptions until then.
        "CREATE TABLE exceptions_said (id INTEGER PRIMARY KEY, said_at REAL NOT NULL)",
        """
        CREATE TABLE checks (
            domain TEXT NOT NULL PRIMARY KEY,
            checked_at REAL NOT NULL,
            content TEXT NOT NULL
        )
        """,
        "CREATE INDEX checks_made ON checks (checked_at)",
        """
        CREATE TABLE weakenings (
            number INTEGER PRIMARY KEY, -- in the order in which they were found
            at REAL NOT NULL,
            content TEXT NOT NULL
        )
        """,
        "CREATE INDEX weakenings_found ON weakenings (at)",
    ),
)
"""The migrations, starting from an empty file; user_version counts those that were applied."""

PROBE: Final = f"""
    SELECT p.domain, p.policy_id, policy, fetched_at, refetch_at, expires_at, asked_at,
        asked_count, dane, failures, claimed_at, digest, p.mode,
        h.domain, h.policy_id, h.mode, mx, seen_from, seen_to, path, {", ".join(DAY_COLUMNS)}
    FROM policies AS p, history AS h, takeover LIMIT 0
"""  # noqa: S608 (constant columns)
"""Fails if a column that we use for policies is missing."""

RECORDS_PROBE: Final = """
    SELECT e.scope, e.content, digest, said_at, domain, checked_at, c.content, number, at,
        w.content
    FROM exceptions AS e, exceptions_said, checks AS c, weakenings AS w LIMIT 0
"""
"""The same for these tables; a file on a read-only file system may be without them."""
