"""Look-ups of some days, added up by answer."""

from postfix_mta_sts.cli.asked import Tally

NOON = 1_790_000_000 - 1_790_000_000 % 86_400 + 43_200.0
"""At noon on 2026-09-21."""


def test_the_first_day_counts_as_a_whole() -> None:
    """Look-ups are counted by day, so that those before the time of that day count, too."""
    days = {"2026-09-18": 1, "2026-09-19": 2, "2026-09-20": 4, "2026-09-21": 8}
    entry = {"answer": "secure", "why": "enforce", "asked_days": days}
    tally = Tally(NOON, 86_400)
    assert (tally.first_day, tally.add(entry)) == ("2026-09-20", 12)
    assert Tally(NOON, 2 * 86_400).add(entry) == 14
    assert Tally(NOON, 0).add(entry) == 8


def test_sums() -> None:
    """Most domains come first; an answer that is not known yet has a dash."""
    tally = Tally(NOON, 0)
    for answer, why, number in (
        ("not-found", "testing", 1),
        ("secure", "enforce", 2_000),
        ("secure", "enforce", 3_000),
        (None, None, 0),
    ):
        tally.add({"answer": answer, "why": why, "asked_days": {"2026-09-21": number}})
    assert list(tally.lines()) == [
        ("secure", "2 domains, 5,000 look-ups"),
        ("testing", "1 domain, 1 look-up"),
        ("-", "1 domain, 0 look-ups"),
    ]
