"""A cache file as postfix-mta-sts-resolver makes it (1.5.1), and policies as it writes them.

Border: its layout only, written here anew; the program itself is not needed.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

LAYOUT = (
    "PRAGMA journal_mode = WAL",
    "CREATE TABLE proactive_fetch_ts (id integer primary key, last_fetch_ts integer)",
    "CREATE TABLE sts_policy_cache (domain text, ts integer, pol_id text, pol_body text)",
    "CREATE UNIQUE INDEX sts_policy_domain ON sts_policy_cache (domain)",
    "CREATE INDEX sts_policy_domain_ts ON sts_policy_cache (domain, ts)",
)


class PeerFile:
    """The file, open as that program has it while it runs."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def put(self, domain: object, ts: object, policy_id: object, body: object) -> None:
        """Write a row, with whatever in its columns."""
        row = (domain, ts, policy_id, body)
        self._db.execute("INSERT OR REPLACE INTO sts_policy_cache VALUES (?, ?, ?, ?)", row)


@contextmanager
def peer_file(path: Path) -> Iterator[PeerFile]:
    """The file at `path`, made if there is none."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        if not db.execute("SELECT 1 FROM sqlite_master").fetchone():
            for statement in LAYOUT:
                db.execute(statement)
        yield PeerFile(db)


def body(**fields: object) -> str:
    """The column of a good policy, with other fields in place; those that are None are left out."""
    whole: Mapping[str, object] = {
        "mx": ["mx1.good.test", "*.good.test"],
        "version": "STSv1",
        "mode": "enforce",
        "max_age": 604800,
        "": "",  # what that program makes of a blank line
        **fields,
    }
    return json.dumps({name: value for name, value in whole.items() if value is not None})
