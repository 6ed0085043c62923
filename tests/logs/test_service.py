"""The log of a process that serves."""

import json
import logging
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TextIO

import pytest

from postfix_mta_sts.logs import event
from postfix_mta_sts.logs.budget import PER_MINUTE
from postfix_mta_sts.logs.lines import LINE_LIMIT, Json, Text
from postfix_mta_sts.logs.service import ServiceHandler
from tests.support.pipes import Pipe, pipe

MINUTE = 60.0


class Service:
    """A handler with a clock that stands still, and what it has written."""

    def __init__(self, stream: TextIO) -> None:
        self.now = 0.0
        self.handler = ServiceHandler(stream.fileno(), lambda: self.now)
        self.handler.setFormatter(Text(journal=True))
        self.logger = logging.Logger("postfix_mta_sts.test")  # noqa: LOG001 - separate from the loggers of the process
        self.logger.addHandler(self.handler)
        self._path = Path(stream.name)

    @property
    def lines(self) -> list[str]:
        """The lines, once all are written."""
        self.handler.flush()
        return self._path.read_text(encoding="ascii").splitlines()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A handler that writes to a file."""
    with (tmp_path / "log").open("w", encoding="ascii") as stream:
        made = Service(stream)
        yield made
        made.handler.close()


@pytest.fixture
def unread() -> Iterator[Pipe]:
    """A pipe that nobody reads."""
    with pipe() as made:
        yield made


class TestLimit:
    """Lines that are left out."""

    def test_what_is_left_out_is_told(self, service: Service) -> None:
        """The shown lines and the count are all lines."""
        for number in range(1_000):
            event(service.logger, logging.INFO, "policy fetched", f"d{number}.test")
        *shown, last = service.lines
        assert all("policy fetched" in line for line in shown)
        assert last == f'<6>log lines left out text="policy fetched" count={1_000 - len(shown)}'
        assert service.handler.missing.left_out == 1_000 - len(shown)

    def test_warnings_are_counted_as_warnings(self, service: Service) -> None:
        """A flood of ordinary lines leaves room for the same event as a warning, and vice versa."""
        for number in range(1_000):
            event(service.logger, logging.INFO, "renewal failed", f"d{number}.test")
        event(service.logger, logging.WARNING, "renewal failed", "important.test")
        assert "<4>important.test: renewal failed" in service.lines
        for number in range(1_000):
            event(service.logger, logging.WARNING, "renewal failed", f"d{number}.test")
        assert service.lines[-1].startswith('<4>log lines left out text="renewal failed" count=')

    def test_other_libraries(self, service: Service) -> None:
        """All lines of one library are one kind: their texts may differ each time."""
        library = logging.Logger("asyncio")  # noqa: LOG001 - separate from the loggers of the process
        library.addHandler(service.handler)
        for number in range(1_000):
            library.error("Task exception was never retrieved\nfuture: <Task %d>", number)
        *shown, last = service.lines
        assert last == f"<4>log lines left out text=asyncio count={1_000 - len(shown)}"

    def test_a_report_a_minute(self, service: Service) -> None:
        """What is left out in a minute is told in its end, with the next lines at the latest."""
        for minute in range(3):
            service.now = minute * (MINUTE + 1)
            for _ in range(1_000):
                event(service.logger, logging.INFO, "seen", "a.test")
        told = [line for line in service.lines if "left out" in line]
        assert len(told) <= 3
        counts = [int(re.sub(".*count=", "", line)) for line in told]
        assert sum(counts) == service.handler.missing.left_out

    def test_no_limit(self, service: Service) -> None:
        """At level debug every line is written."""
        service.handler.limited = False
        for number in range(1_000):
            event(service.logger, logging.DEBUG, "look-up", f"d{number}.test")
        assert len(service.lines) == 1_000

    def test_ten_minutes_of_hostile_domains(self, service: Service) -> None:
        """14 names a second cause each event of a domain, with long texts: 8 KiB a minute each."""
        texts = {
            logging.INFO: ["policy fetched", "policy changed", "renewal recovered"],
            logging.WARNING: ["renewal failed", "policy expired", "TXT record missing"],
        }
        mx = [f"{'m' * 240}{number}.test" for number in range(200)]
        for second in range(600):
            service.now = second
            for number in range(14):
                for level, whats in texts.items():
                    for what in whats:
                        event(
                            service.logger,
                            level,
                            what,
                            f"d{number}.test",
                            mx=mx,
                            reason="r" * 5_000,
                        )
        size = sum(len(line) + 1 for line in service.lines)
        assert size < 6 * (11 * (PER_MINUTE + 100) + LINE_LIMIT)


class TestDropped:
    """Lines that nobody reads."""

    async def test_the_count_is_told(self, unread: Pipe) -> None:
        """When there is room again, one line has the count."""
        unread.fill()
        handler = ServiceHandler(unread.writer)
        handler.limited = False
        handler.setFormatter(Json())
        logger = logging.Logger("postfix_mta_sts.test")  # noqa: LOG001 - separate from the loggers of the process
        logger.addHandler(handler)
        for number in range(10_000):
            event(logger, logging.INFO, "seen", "good.test", number=number)
        count = handler.missing.dropped
        assert count > 0
        text = await unread.read_until("log lines dropped")
        event(logger, logging.INFO, "last")
        text = await unread.read_until('"event": "last"')
        records = [json.loads(line) for line in text.splitlines() if line]
        (told,) = [each for each in records if each["event"] == "log lines dropped"]
        assert (told["level"], told["count"]) == ("warning", count)
        assert sum(each["event"] == "seen" for each in records) == 10_000 - count
        handler.close()

    def test_a_notice_that_is_not_written_is_told_later(
        self, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The count is kept until the disk has room for it."""
        working = service.handler._writer._write_all
        service.handler._writer._dropped = 5
        failing = iter([False, True])

        def write(data: bytes) -> None:
            if b"dropped" in data and next(failing, False):
                raise OSError(28, "No space left on device")
            working(data)

        with suppress(StopIteration):
            next(failing)
        monkeypatch.setattr(service.handler._writer, "_write_all", write)
        event(service.logger, logging.INFO, "one")
        assert service.lines == ["<6>one"]
        event(service.logger, logging.INFO, "two")
        assert service.lines == ["<6>one", "<6>two", "<4>log lines dropped count=5"]


def test_a_line_that_cannot_be_formatted(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log has its text and its logger, and nothing is printed."""
    text = "%d of %d"
    service.logger.info(text, "x")
    assert service.lines == [
        '<3>log line not formatted library=postfix_mta_sts.test text="%d of %d"'
    ]
    assert capsys.readouterr() == ("", "")
