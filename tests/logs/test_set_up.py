"""`set_up` for commands, `set_up_service` for processes that serve, and the journal."""

import io
import json
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from postfix_mta_sts.logs import Missing, event, missing, set_up, set_up_service, to_journal
from postfix_mta_sts.logs.service import ServiceHandler


class Unprintable:
    """A value that must not be formatted."""

    def __str__(self) -> str:
        """Fail the test."""
        raise AssertionError("must not be formatted")


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """A logger in place of that of the process; its handlers are closed at the end."""
    manager = logging.Manager(logging.RootLogger(logging.WARNING))
    made = manager.getLogger("postfix_mta_sts.test")
    yield made
    for handler in made.handlers:
        handler.close()


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[TextIO]:
    """A file in place of standard error."""
    with (tmp_path / "stderr").open("w+", encoding="ascii") as made:
        yield made


def written(stream: TextIO, root: logging.Logger) -> list[str]:
    """The lines of a file, once all are written."""
    for handler in root.handlers:
        handler.flush()
    return Path(stream.name).read_text(encoding="ascii").splitlines()


class TestSetUp:
    """`set_up`."""

    def test_below_the_level(self, root: logging.Logger) -> None:
        """An event below the level is not formatted."""
        stream = io.StringIO()
        set_up("warning", "text", stream, root=root)
        event(root, logging.INFO, "x", value=Unprintable())
        assert stream.getvalue() == ""

    def test_debug_of_other_libraries(self) -> None:
        """DEBUG lines of other libraries are dropped, but not lines of higher levels."""
        stream = io.StringIO()
        other = logging.Logger("aiosqlite")  # noqa: LOG001 - separate from the loggers of the process
        set_up("debug", "text", stream, journal=True, root=other)
        other.debug("executing")
        other.info("connected")
        assert stream.getvalue() == "<6>connected logger=aiosqlite\n"

    def test_second_call_replaces_the_first(self, root: logging.Logger) -> None:
        """A second call replaces the handler of the first, and no other handler."""
        first, second = io.StringIO(), io.StringIO()
        other = logging.NullHandler()
        root.addHandler(other)
        set_up("info", "text", first, root=root)
        set_up("info", "json", second, root=root)
        event(root, logging.INFO, "x")
        assert first.getvalue() == ""
        assert json.loads(second.getvalue())["event"] == "x"
        assert other in root.handlers
        assert len(root.handlers) == 2


class TestSetUpService:
    """`set_up_service`."""

    def test_lines(self, root: logging.Logger, stream: TextIO) -> None:
        """The lines are those of `set_up`, in order."""
        set_up_service("info", "text", stream, journal=True, root=root)
        for number in range(100):
            event(root, logging.INFO, "seen", "good.test", number=number)
        assert written(stream, root) == [f"<6>good.test: seen number={n}" for n in range(100)]

    def test_debug_of_other_libraries(self, stream: TextIO) -> None:
        """As in `set_up`, DEBUG lines of other libraries are dropped."""
        other = logging.Logger("aiosqlite")  # noqa: LOG001 - separate from the loggers of the process
        set_up_service("debug", "text", stream, journal=True, root=other)
        other.debug("executing")
        other.info("connected")
        assert written(stream, other) == ["<6>connected logger=aiosqlite"]
        other.handlers[0].close()

    def test_second_call_loses_no_line(self, root: logging.Logger, stream: TextIO) -> None:
        """A reload changes level and form of the lines that follow, and starts no thread."""
        set_up_service("info", "text", stream, journal=True, root=root)
        threads = threading.active_count()
        event(root, logging.INFO, "before")
        set_up_service("warning", "json", stream, root=root)
        event(root, logging.INFO, "below")
        event(root, logging.WARNING, "after")
        first, second = written(stream, root)
        assert (first, json.loads(second)["event"]) == ("<6>before", "after")
        assert threading.active_count() == threads

    def test_another_stream(self, root: logging.Logger, stream: TextIO, tmp_path: Path) -> None:
        """A handler for another stream replaces the first, which writes what it has."""
        set_up("info", "text", io.StringIO(), root=root)
        set_up_service("info", "text", stream, journal=True, root=root)
        event(root, logging.INFO, "before")
        with (tmp_path / "other").open("w", encoding="ascii") as other:
            set_up_service("info", "text", other, journal=True, root=root)
            event(root, logging.INFO, "after")
            assert written(other, root) == ["<6>after"]
        assert written(stream, root) == ["<6>before"]
        assert len(root.handlers) == 1

    def test_no_stream(self, root: logging.Logger) -> None:
        """A process without standard error has no log."""
        for _ in range(2):
            set_up_service("info", "text", None, root=root)
            event(root, logging.INFO, "x")
        assert missing(root) == Missing(dropped=0, left_out=0)
        assert len(root.handlers) == 1

    @pytest.mark.parametrize(("level", "limited"), [("debug", False), ("info", True)])
    def test_limit(self, root: logging.Logger, stream: TextIO, level: str, limited: bool) -> None:  # noqa: FBT001 - a parameter of the test
        """Each kind of event is limited, except at level debug."""
        set_up_service(level, "text", stream, root=root)
        for _ in range(1_000):
            event(root, logging.INFO, "seen", "good.test")
        assert (missing(root).left_out > 0) == limited
        assert isinstance(root.handlers[0], ServiceHandler)

    def test_nothing_is_missing_without_a_service(self, root: logging.Logger) -> None:
        """A command writes all lines."""
        assert missing(root) == Missing()


class TestToJournal:
    """`to_journal`."""

    def test_journal_stream(self) -> None:
        """The stream is the journal if its device and inode are those in the variable."""
        read, write = os.pipe()
        os.close(read)
        with open(write, "w", encoding="ascii") as stream:  # noqa: PTH123 - a descriptor, not a path
            status = os.fstat(write)
            assert to_journal({"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}, stream)
            assert not to_journal({"JOURNAL_STREAM": "1:1"}, stream)
            assert not to_journal({}, stream)

    def test_no_file(self) -> None:
        """A stream without a file, or a closed one, is not the journal."""
        assert not to_journal({"JOURNAL_STREAM": "1:1"}, io.StringIO())
        with open(os.devnull, "w", encoding="ascii") as stream:  # noqa: PTH123 - as above
            pass
        assert not to_journal({"JOURNAL_STREAM": "1:1"}, stream)

    def test_no_stream(self) -> None:
        """A process without standard error does not log to the journal."""
        assert not to_journal({"JOURNAL_STREAM": "1:1"}, None)
