"""The domains of a scan, and what was found of each: in a temporary database, not in memory.

SQLite removes the file as soon as it has opened it (sqlite.org/inmemorydb.html, temporary
databases), and keeps `_CACHE` of it in memory. It is in the folder that $SQLITE_TMPDIR or $TMPDIR
names, else in /var/tmp or /tmp; a million domains take about 150 MiB.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from postfix_mta_sts.admin.findings import Finding, Outcome
from postfix_mta_sts.cli.parser import CommandError
from postfix_mta_sts.cli.trial.tally import NOT_KNOWN
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.values import json_decoder, to_json

_CACHE: Final = 16 * 1024
"""KiB of the database that stay in memory."""
_BATCH: Final = 1_000
"""Domains that are inserted together."""
_PAGE: Final = 100
"""Rows that are read at once; others are written meanwhile."""
_RECENT: Final = 50_000
"""Domains that are known to be in the list already: a mail log repeats them."""
_NOTHING_LEARNED: Final = frozenset({Outcome.UNKNOWN, Outcome.UNANSWERED})
"""The DNS or the network did not work, perhaps on this side."""
_decode = json_decoder(Finding)


class Worklist:
    """The domains in the order of the list, each once, with its finding; made by `worklist`."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._new: list[tuple[Domain]] = []
        self._recent: set[Domain] = set()

    def add(self, domain: Domain) -> None:
        """Add a domain, if it is not in the list."""
        if domain in self._recent:
            return
        if len(self._recent) >= _RECENT:
            self._recent.clear()
        self._recent.add(domain)
        self._new.append((domain,))
        if len(self._new) >= _BATCH:
            self._insert()

    def note(self, finding: Finding) -> None:
        """Keep what was found of a domain; one that is not in the list is ignored."""
        self._keep(finding, again=False)

    def note_earlier(self, finding: Finding) -> None:
        """Keep what an earlier scan found; a domain of which it learned nothing is pending."""
        self._keep(finding, again=finding.outcome in _NOTHING_LEARNED)

    def count(self) -> int:
        """The number of domains."""
        return self._number("count(*)")

    def count_pending(self) -> int:
        """The number of domains to look at."""
        return self._number("total(pending)")

    def pending(self) -> Iterator[Domain]:
        """Yield the domains to look at; others may be noted meanwhile."""
        for domain, _ in self._rows("pending AND"):
            yield Domain(domain)

    def findings(self) -> Iterator[Finding]:
        """Yield a finding for each domain: those without one are pending."""
        for domain, finding in self._rows(""):
            yield (_decode(finding) if finding else Finding(domain=domain, outcome=Outcome.PENDING))

    def _keep(self, finding: Finding, *, again: bool) -> None:
        self._insert()
        statement = "UPDATE domains SET finding = ?, pending = ? WHERE domain = ?"
        self._db.execute(statement, (to_json(finding), again, finding.domain))

    def _rows(self, condition: str) -> Iterator[tuple[str, str | None]]:
        self._insert()
        last = 0
        query = (
            f"SELECT rowid, domain, finding FROM domains WHERE {condition} rowid > ? "  # noqa: S608 (no text from outside)
            f"ORDER BY rowid LIMIT {_PAGE}"
        )
        while rows := self._db.execute(query, (last,)).fetchall():
            last = rows[-1][0]
            for _, domain, finding in rows:
                yield domain, finding

    def _number(self, what: str) -> int:
        self._insert()
        ((number,),) = self._db.execute(f"SELECT {what} FROM domains").fetchall()  # noqa: S608 (as above)
        return int(number)

    def _insert(self) -> None:
        if self._new:
            self._db.executemany("INSERT OR IGNORE INTO domains (domain) VALUES (?)", self._new)
            self._new.clear()


@contextmanager
def worklist() -> Iterator[Worklist]:
    """Make an empty list; its errors, also within the context, become `CommandError`."""
    try:
        db = sqlite3.connect("", isolation_level=None)
        try:
            for setting in (f"cache_size = -{_CACHE}", "journal_mode = OFF", "synchronous = OFF"):
                db.execute(f"PRAGMA {setting}")
            db.execute(
                "CREATE TABLE domains "
                "(domain TEXT NOT NULL UNIQUE, finding TEXT, pending INTEGER NOT NULL DEFAULT 1)"
            )
            db.execute("BEGIN")  # else each statement would write to the file
            yield Worklist(db)
        finally:
            db.close()
    except sqlite3.Error as error:
        advice = "name a folder with room in $SQLITE_TMPDIR"
        raise CommandError(f"temporary database: {error}; {advice}", NOT_KNOWN) from error
