"""The domains of a scan, in a temporary database."""

import pytest

from postfix_mta_sts.admin.findings import Outcome
from postfix_mta_sts.cli.parser import CommandError
from postfix_mta_sts.cli.trial.worklist import worklist
from postfix_mta_sts.mtasts.domain import Domain
from tests.cli.trial.findings import finding, held


def test_order() -> None:
    """Each domain is in the list once, in the order of the list."""
    with worklist() as work:
        for name in ("c.test", "a.test", "c.test", "b.test", "a.test"):
            work.add(Domain(name))
        assert list(work.pending()) == ["c.test", "a.test", "b.test"]
        assert (work.count(), work.count_pending()) == (3, 3)


def test_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """More domains than are kept in memory, with repeats, and noted while they are read."""
    monkeypatch.setattr("postfix_mta_sts.cli.trial.worklist._RECENT", 100)
    with worklist() as work:
        for n in (*range(3_000), *range(0, 3_000, 7)):
            work.add(Domain(f"d{n}.test"))
        assert work.count() == 3_000
        for n, domain in enumerate(work.pending()):
            assert domain == f"d{n}.test"
            work.note(finding(domain))
        assert work.count_pending() == 0
        assert sum(1 for _ in work.findings()) == 3_000


def test_findings() -> None:
    """Each domain has a finding; of those that nobody looked at it says so."""
    with worklist() as work:
        for name in ("a.test", "b.test"):
            work.add(Domain(name))
        work.note(held("a.test"))
        work.note(held("other.test"))
        first, second = work.findings()
        assert first == held("a.test")
        assert (second.domain, second.outcome) == ("b.test", Outcome.PENDING)


@pytest.mark.parametrize(
    ("outcome", "again"),
    [(each, each in {Outcome.UNKNOWN, Outcome.UNANSWERED}) for each in Outcome],
)
def test_earlier(outcome: Outcome, *, again: bool) -> None:
    """What an earlier scan could not find out is looked at again, and shown until then."""
    with worklist() as work:
        work.add(Domain("a.test"))
        work.note_earlier(finding("a.test", outcome))
        assert list(work.pending()) == (["a.test"] if again else [])
        assert [each.outcome for each in work.findings()] == [outcome]
        work.note(finding("a.test", outcome))
        assert work.count_pending() == 0


def test_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the database says where it is."""

    def fill() -> None:
        with worklist() as work:
            work._db.execute("PRAGMA max_page_count = 1")  # a disk that is full
            for n in range(10_000):
                work.add(Domain(f"d{n}.test"))

    with pytest.raises(CommandError, match=r"temporary database: .*SQLITE_TMPDIR"):
        fill()
