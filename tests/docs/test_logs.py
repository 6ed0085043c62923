"""docs/logs.md lists every log event of the code, with its levels and fields, and no other."""

from typing import Final

import pytest

from tests.docs.log_events import (
    PAGE,
    LogEvent,
    corrected,
    events_of_code,
    events_of_module,
    faults,
    merged,
    row_of,
    rows_of,
)

EVENTS, UNREADABLE = events_of_code()


def test_the_text_of_every_event_is_a_literal() -> None:
    """Every event can be found by its text, and every line of the log is an event."""
    assert UNREADABLE == []


def test_page() -> None:
    """Text, levels and fields of each event are listed once; `python -m tests.docs.log_events`."""
    assert len(EVENTS) > 30
    assert list(faults(list(rows_of(PAGE.read_text("utf-8"))), EVENTS)) == []


def test_a_corrected_page_stays_as_it_is() -> None:
    """The generator changes nothing where nothing has changed."""
    page = PAGE.read_text("utf-8")
    assert corrected(page, EVENTS) == page


def read(source: str) -> list[LogEvent]:
    """The events of a module that can be read."""
    events, errors = events_of_module(source)
    assert errors == []
    return list(merged(events).values())


class TestExtraction:
    """Calls of `event` and `Change` are read as they are written in the package."""

    def test_call(self) -> None:
        """The level is that of `logging`; the keywords are the fields."""
        call = 'event(_log, logging.INFO, "done", count=1, at=2)'
        assert read(call) == [LogEvent("done", ("info",), ("at", "count"))]
        assert read(f"logs.{call}") == read(call)

    def test_domain_and_exception(self) -> None:
        """A fourth argument is the domain; `exc_info` is the field `exception`."""
        assert read('event(_log, logging.ERROR, "broken", domain, exc_info=error)') == [
            LogEvent("broken", ("error",), ("domain", "exception"))
        ]

    def test_the_same_text_twice(self) -> None:
        """Calls with one text are one event, with all their levels, lowest first, and fields."""
        source = 'event(_log, logging.WARNING, "x", a=1)\nevent(_log, logging.DEBUG, "x", b=1)'
        assert read(source) == [LogEvent("x", ("debug", "warning"), ("a", "b"))]

    def test_conditional_text(self) -> None:
        """A conditional expression of literals is two events."""
        source = 'event(_log, logging.INFO, "on" if on else "off")'
        assert [each.text for each in read(source)] == ["on", "off"]

    @pytest.mark.parametrize(
        "source",
        [
            "def f():\n level = logging.INFO if a else logging.ERROR\n event(_log, level, 'x')",
            "LEVELS = (logging.INFO, logging.ERROR)\nevent(_log, LEVELS[bad], 'x')",
            "def f(self):\n self.a = (logging.INFO, logging.ERROR)\n event(_log, self.a[0], 'x')",
        ],
        ids=["local", "constant", "attribute"],
    )
    def test_level_by_name(self, source: str) -> None:
        """A level that has a name is looked up in the module."""
        assert read(source) == [LogEvent("x", ("info", "error"), ())]

    def test_change(self) -> None:
        """A `Change` always has a domain; its severity is a level; its dicts are followed."""
        source = (
            "def f(why):\n"
            " fields = {'reason': why, **described()}\n"
            " yield Change('x', warned(Severity.NOTE), {**fields, 'old': 1})\n"
            "def described(): return {'id': 1}\n"
            "def warned(weight): return Severity.WARNING if now else weight\n"
        )
        wanted = LogEvent("x", ("info", "warning"), ("domain", "id", "old", "reason"))
        assert read(source) == [wanted]

    def test_a_change_is_not_read_where_it_is_logged(self) -> None:
        """The one call that passes a change on has no text of its own."""
        assert read("event(logger, LEVELS[0], change.what, domain, **change.fields)") == []

    @pytest.mark.parametrize(
        ("source", "error"),
        [
            ("event(_log, logging.INFO, what)", "1: the event is no literal: what"),
            ("event(_log, logging.INFO, f'{a} b')", "1: the event is no literal: f'{a} b'"),
            ("event(_log, logging.INFO, 'a' if b else c)", "1: the event is no literal: "),
            ("event(_log, level, 'a')", "1: no level is known"),
            ("event(_log, level=logging.INFO, what='a')", "1: level and text must be positional"),
            ("\n_log.warning('a')", "2: logged without event()"),
            ("logging.exception('a')", "1: logged without event()"),
        ],
    )
    def test_what_cannot_be_read_is_an_error(self, source: str, error: str) -> None:
        """An event that the page cannot list is reported with its line."""
        _, (found,) = events_of_module(source)
        assert found.startswith(error)


CODE: Final = merged([LogEvent("a", ("info",), ("x", "y")), LogEvent("b", ("error",), ())])
GOOD: Final = "| `a` | info | `x`, `y` | What it means. |\n| `b` | error | - | Report it. |\n"


def faults_in(page: str) -> list[str]:
    """The faults of a page for these two events."""
    return list(faults(list(rows_of(page)), CODE))


def test_a_good_page() -> None:
    """A page as it should be has no fault, so that those below are caused by what they change."""
    assert faults_in(GOOD) == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("| `b` | error | - | Report it. |\n", "", "not in the page: | `b` | error | - |"),
        ("`b`", "`c`", "not in the code: c"),
        ("error", "warning", "should be: | `b` | error | - |"),
        ("`x`, ", "", "should be: | `a` | info | `x`, `y` |"),
        ("| - |", "| `z` |", "should be: | `b` | error | - |"),
        ("Report it.", "", "without a meaning: b"),
        ("`b`", "`a`", "listed 2 times: a"),
    ],
)
def test_a_bad_page_is_a_fault(old: str, new: str, fault: str) -> None:
    """Each difference is named: the comparison can fail."""
    assert fault in faults_in(GOOD.replace(old, new))


def test_correction() -> None:
    """A corrected page has today's levels and fields, keeps meanings, and drops stale rows."""
    page = "# Log\n\n| `a` | debug | `x` | What it means. |\n| `gone` | info | - | Old. |\n"
    assert corrected(page, CODE) == (
        "# Log\n\n| `a` | info | `x`, `y` | What it means. |\n| `b` | error | - |  |\n"
    )


def test_other_tables_have_no_events() -> None:
    """A row with another number of cells is no event."""
    assert row_of("| `reason` | why |") is None
    assert row_of("| event | level | fields | meaning |") is None
