"""A cache file of postfix-mta-sts-resolver (1.5.1), and policies in its format.

The schema is repeated here, so the program itself is not needed.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

SCHEMA = (
    "PRAGMA journal_mode = WAL",
    "CREATE TABLE proactive_fetch_ts (id integer primary key, last_fetch_ts integer)",
    "CREATE TABLE sts_policy_cache (domain text, ts integer, pol_id text, pol_body text)",
    "CREATE UNIQUE INDEX sts_policy_domain ON sts_policy_cache (domain)",
    "CREATE INDEX sts_policy_domain_ts ON sts_policy_cache (domain, ts)",
)


class PeerFile:
    """The file, open in the same way as by the running program."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def put(self, domain: object, ts: object, policy_id: object, body: object) -> None:
        """Write a row; the columns may hold any value."""
        row = (domain, ts, policy_id, body)
        self._db.execute("INSERT OR REPLACE INTO sts_policy_cache VALUES (?, ?, ?, ?)", row)


@contextmanager
def peer_file(path: Path) -> Iterator[PeerFile]:
    """Open the file at `path`; create it if it does not exist."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        if not db.execute("SELECT 1 FROM sqlite_master").fetchone():
            for statement in SCHEMA:
                db.execute(statement)
        yield PeerFile(db)


def body(**fields: object) -> str:
    """The `pol_body` of a valid policy; `fields` replace its fields, None removes one."""
    values: Mapping[str, object] = {
        "mx": ["mx1.good.test", "*.good.test"],
        "version": "STSv1",
        "mode": "enforce",
        "max_age": 604800,
        "": "",  # that program stores a blank line like this
        **fields,
    }
    return json.dumps({name: value for name, value in values.items() if value is not None})
