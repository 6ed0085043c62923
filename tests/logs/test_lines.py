"""Every event is one line, and no text can forge another line or field."""

import enum
import io
import json
import logging
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from select import PIPE_BUF

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.logs import Event, event, set_up


class _Mode(enum.StrEnum):
    ENFORCE = "enforce"


def lines(
    form: str,
    log: Callable[[logging.Logger], None],
    *,
    level: str = "debug",
    journal: bool = False,
) -> list[str]:
    """Return the lines that `log` writes to a separate logger."""
    stream = io.StringIO()
    root = logging.Logger("postfix_mta_sts.test")  # noqa: LOG001 - separate from the loggers of the process
    set_up(level, form, stream, journal=journal, root=root)
    log(root)
    text = stream.getvalue()
    assert text.endswith("\n") or not text
    return text.split("\n")[:-1]


def journal_line(what: str, domain: str | None = None, **fields: object) -> str:
    """Return the text line of an INFO event, without its priority."""
    (line,) = lines(
        "text",
        lambda log: event(log, logging.INFO, what, domain, exc_info=None, **fields),
        journal=True,
    )
    return line.removeprefix("<6>")


def json_line(what: str, domain: str | None = None, **fields: object) -> dict[str, object]:
    """Return the JSON object of an INFO event."""
    (line,) = lines(
        "json", lambda log: event(log, logging.INFO, what, domain, exc_info=None, **fields)
    )
    read: dict[str, object] = json.loads(line, parse_constant=pytest.fail)
    return read


def fail(log: logging.Logger) -> None:
    """Log an exception with its traceback."""
    try:
        int("bad = worse\nsecond line")
    except ValueError as error:
        event(log, logging.ERROR, "task failed", exc_info=error)


class TestText:
    """The text format."""

    def test_domain_event_and_fields_in_order(self) -> None:
        """The domain comes first, then the event, then the fields in order."""
        line = journal_line(
            "policy fetched",
            "good.test",
            id="20260101",
            mode=_Mode.ENFORCE,
            mx=("mx1.good.test", "*.good.test"),
            max_age=604800,
        )
        assert line == (
            "good.test: policy fetched id=20260101 mode=enforce"
            " mx=mx1.good.test,*.good.test max_age=604800"
        )

    def test_event_without_domain_or_fields(self) -> None:
        """An event without a domain is the start of its line."""
        assert journal_line("started") == "started"

    @pytest.mark.parametrize(
        ("value", "written"),
        [
            ("plain", "plain"),
            ("", '""'),
            ("two words", '"two words"'),
            ("a=b", '"a=b"'),
            ('say "x"', r'"say \"x\""'),
            ("a\nfake.test: policy fetched", r'"a\nfake.test: policy fetched"'),
            ("\x1b[31m", r'"\u001b[31m"'),
            ("\x7f", r'"\u007f"'),
            ("bücher", r'"b\u00fccher"'),
            ("\u2028", r'"\u2028"'),
            (True, "true"),
            (False, "false"),
            (0, "0"),
            (1.5, "1.5"),
            (float("nan"), "nan"),
            (b"\xffx y", r'"\\xffx y"'),
            ([], '""'),
            (["a", 1, True], "a,1,true"),
            (frozenset({"one"}), "one"),
            (OSError("no route"), '"OSError: no route"'),
            (1j, "1j"),
        ],
    )
    def test_values(self, value: object, written: str) -> None:
        """A value that is ambiguous without quotes is written as a JSON string."""
        assert journal_line("seen", v=value) == f"seen v={written}"

    def test_none_is_left_out(self) -> None:
        """A field that is None is left out."""
        assert journal_line("seen", "good.test", id=None, mode="none") == (
            "good.test: seen mode=none"
        )

    def test_time_and_level_outside_the_journal(self) -> None:
        """Without the journal a line has its time in UTC and its level."""
        before = datetime.now(UTC)
        (line,) = lines("text", lambda log: event(log, logging.WARNING, "x", "good.test"))
        time, level, rest = line.split(" ", 2)
        assert abs((datetime.fromisoformat(time) - before).total_seconds()) < 60
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", time)
        assert (level, rest) == ("WARNING", "good.test: x")

    @pytest.mark.parametrize(
        ("level", "prefix"),
        [
            (logging.DEBUG, "<7>"),
            (logging.INFO, "<6>"),
            (logging.WARNING, "<4>"),
            (logging.ERROR, "<3>"),
            (logging.CRITICAL, "<2>"),
        ],
    )
    def test_priority_in_the_journal(self, level: int, prefix: str) -> None:
        """In the journal a line has its level as a priority, and no time."""
        assert lines("text", lambda log: event(log, level, "x"), journal=True) == [f"{prefix}x"]

    def test_other_libraries(self) -> None:
        """A line of another library is quoted as a whole, and names its logger."""
        (line,) = lines("text", lambda log: log.info("got %s\nid=1", "x"), journal=True)
        assert line == r'<6>"got x\nid=1" logger=postfix_mta_sts.test'

    def test_exception_on_the_same_line(self) -> None:
        """The traceback of an exception is a field on the same line."""
        (line,) = lines("text", fail, journal=True)
        start, quoted = line.split(" exception=")
        assert start == "<3>task failed"
        trace = json.loads(quoted)
        assert trace.startswith("Traceback")
        assert trace.endswith(r"base 10: 'bad = worse\nsecond line'")


class TestJson:
    """The JSON format."""

    def test_keys(self) -> None:
        """The fixed keys come first, then the fields; values keep their types."""
        read = json_line("policy fetched", "good.test", mx=("a.test",), max_age=1, ok=True)
        assert list(read) == [
            "time", "level", "logger", "event", "domain", "mx", "max_age", "ok",
        ]  # fmt: skip
        assert datetime.fromisoformat(str(read.pop("time"))).tzinfo == UTC
        assert read == {
            "level": "info",
            "logger": "postfix_mta_sts.test",
            "event": "policy fetched",
            "domain": "good.test",
            "mx": ["a.test"],
            "max_age": 1,
            "ok": True,
        }

    def test_none_is_left_out(self) -> None:
        """A field that is None has no key, and neither has a missing domain."""
        assert set(json_line("started", id=None)) == {"time", "level", "logger", "event"}

    def test_fields_cannot_override_fixed_keys(self) -> None:
        """A field with the name of a fixed key is dropped."""
        read = json_line("seen", "good.test", time="never", event="forged", exception="forged")
        assert read["event"] == "seen"
        assert read["time"] != "never"
        assert "exception" not in read

    def test_infinity(self) -> None:
        """Infinity is written as text, because JSON has no such number."""
        assert json_line("seen", v=float("inf"))["v"] == "inf"

    def test_other_libraries(self) -> None:
        """A line of another library is an event; the key `logger` names its logger."""
        (line,) = lines("json", lambda log: log.info("got %s\nx", 1))
        read = json.loads(line)
        assert (read["event"], read["logger"]) == ("got 1\nx", "postfix_mta_sts.test")

    def test_exception(self) -> None:
        """The traceback of an exception is in the field `exception`."""
        (line,) = lines("json", fail)
        assert json.loads(line)["exception"].endswith(r"base 10: 'bad = worse\nsecond line'")


class TestProperty:
    """Any text gives one line."""

    @given(
        what=st.text(),
        domain=st.none() | st.text(),
        key=st.text(min_size=1),
        value=st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
            st.lists,
        ),
    )
    def test_one_line_of_printable_ascii(
        self, what: str, domain: str | None, key: str, value: object
    ) -> None:
        """Both formats write one line of printable ASCII for any text."""
        message = Event(what, domain, {key: value})
        for form in ("text", "json"):
            (line,) = lines(form, lambda log: log.warning(message))
            assert re.fullmatch(r"[ -~]+", line)

    @given(domain=st.text(), key=st.text(min_size=1), value=st.text())
    def test_text_fields_read_back(self, domain: str, key: str, value: str) -> None:
        """A text line parsed by its grammar gives back domain, key and value."""
        word = r'("(?:[^"\\]|\\.)*"|[^ "=]+)'
        line = str(Event("seen", domain, {key: value}))
        match = re.fullmatch(rf"{word}: seen {word}={word}", line)
        assert match
        unquoted = [json.loads(w) if w.startswith('"') else w for w in match.groups()]
        assert unquoted == [domain, key, value]

    @given(what=st.text(), domain=st.text(), value=st.text() | st.integers() | st.booleans())
    def test_json_reads_back(self, what: str, domain: str, value: object) -> None:
        """A parsed JSON line gives back event, domain and value."""
        read = json_line(what, domain, v=value)
        assert (read["event"], read["domain"], read["v"]) == (what, domain, value)


class TestLength:
    """No line is longer than 4 KiB."""

    def test_a_long_list(self) -> None:
        """Ten items are shown, and the number of the others."""
        mx = [f"mx{number}.test" for number in range(200)]
        assert journal_line("x", mx=mx).endswith("mx7.test,mx8.test,mx9.test,[+190]")
        shown = json_line("x", mx=mx)["mx"]
        assert shown == [*mx[:10], "[+190]"]

    def test_ten_items(self) -> None:
        """Ten items are shown as they are."""
        assert json_line("x", mx=list(range(10)))["mx"] == list(range(10))

    def test_a_long_text(self) -> None:
        """The middle of a text is left out."""
        line = journal_line("x", reason="a" * 600 + "b" * 600)
        assert line == f"x reason={'a' * 500}[+200]{'b' * 500}"

    def test_a_long_traceback(self) -> None:
        """The begin and the end of a traceback are shown."""

        def fail_with_much(log: logging.Logger) -> None:
            try:
                os.stat("x" * 10_000)  # noqa: PTH116 - an error with a long text
            except OSError as error:
                event(log, logging.ERROR, "task failed", exc_info=error)

        for form in ("text", "json"):
            (line,) = lines(form, fail_with_much)
            assert "Traceback (most recent" in line
            assert re.search(r"xxx\[\+\d+\]xxx", line)
            assert len(line) < PIPE_BUF

    def test_many_fields(self) -> None:
        """A line with too many fields has their number."""
        message = Event("x", "good.test", {f"field{n}": "x" * 100 for n in range(200)})
        (line,) = lines("text", lambda log: log.info(message), journal=True)
        assert line == "<6>good.test: x fields_left_out=200"

    @given(
        what=st.sampled_from("a\n\xe9\U0001f600").map(lambda char: char * 3_000),
        value=st.recursive(
            st.text() | st.binary() | st.sampled_from('a"\xe9\U0001f600').map(lambda c: c * 5_000),
            lambda inner: st.lists(inner, max_size=30),
        ),
        own=st.booleans(),
    )
    def test_any_text(self, what: str, value: object, own: bool) -> None:  # noqa: FBT001 - drawn
        """A line is short enough whatever it is made of, and JSON stays JSON."""
        message: object = Event(what, what, {"value": value, "other": value}) if own else what
        for form in ("text", "json"):
            (line,) = lines(form, lambda log: log.warning(message))
            assert re.fullmatch(r"[ -~]+", line)
            assert len(line) < PIPE_BUF
            if form == "json":
                assert json.loads(line)["level"] == "warning"
