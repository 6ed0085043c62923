"""The domains of a scan, from lists and mail logs of any size and content."""

import gzip
import io
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.cli.parser import CommandError
from postfix_mta_sts.cli.trial.inputs import (
    LIST_LINE_LIMIT,
    Read,
    listed_domain,
    print_bad,
    read_list,
    read_mail_log,
)
from postfix_mta_sts.cli.trial.lines import CHUNK, lines, opened
from postfix_mta_sts.mtasts.domain import Domain, parse_domain
from postfix_mta_sts.mtasts.errors import InvalidDomainError

LOG = (
    "Nov 27 05:45:40 mx postfix/smtp[4711]: 4Xyz0bQjKqz1: to=<{}>, relay=mx[192.0.2.1]:25, "
    "delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (secret)\n"
)


def read(path: Path, *, log: bool = False) -> tuple[list[Domain], Read]:
    """Read a file; return its domains and the numbers."""
    found: list[Domain] = []
    function = read_mail_log if log else read_list
    numbers = function(str(path), found.append, lambda: None)
    return found, numbers


def test_list(tmp_path: Path) -> None:
    """One domain or address per line, in any spelling, with comments and blank lines."""
    path = tmp_path / "list"
    path.write_bytes(
        b"\xef\xbb\xbfb.test\r\n  A.test.  # ours\n\n#c.test\n"
        + 'B\u00fccher.test\nuser@d.test\n"a#b"@e.test # x\n<x@f.test>\ng.test# y\n'.encode()
        + b"a#b@h.test"
    )
    found, numbers = read(path)
    names = ["b", "a", "xn--bcher-kva", "d", "e", "f", "g", "h"]
    assert found == [f"{name}.test" for name in names]
    assert (numbers.lines, numbers.domains, numbers.bad) == (10, 8, 0)


def test_bad_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is counted, and the first ones are printed with their number, in ASCII."""
    path = tmp_path / "list"
    path.write_bytes(
        b"a.test\n\xff\nx y\n[192.0.2.1]\nlocalhost\n\x1b[2J\nuser@\n"
        + b"-\n" * 30
        + b"a" * 5_000
        + b"\n"
        + b"b.test\n"
    )
    found, numbers = read(path)
    assert found == ["a.test", "b.test"]
    assert (numbers.lines, numbers.bad) == (39, 37)
    print_bad("list", numbers)
    printed = capsys.readouterr().err.splitlines()
    assert printed[0] == f"{path}:2: not UTF-8"
    assert printed[1] == f"{path}:3: not a domain name: 'x y'"
    assert "one label" in printed[3]
    assert printed[4].endswith(r"'\x1b[2J'")
    assert printed[-1] == "list: 17 more lines without a valid domain"


def test_log(tmp_path: Path) -> None:
    """The recipients' domains are taken out of a log, packed or not."""
    text = "".join(LOG.format(f"u@d{n}.test") for n in (1, 2, 1)) + "broken\n"
    plain, packed = tmp_path / "mail.log", tmp_path / "mail.log.2.gz"
    plain.write_text(text)
    packed.write_bytes(gzip.compress(text.encode()) + gzip.compress(text.encode()))
    assert read(plain, log=True) == (
        [Domain("d1.test"), Domain("d2.test"), Domain("d1.test")],
        Read(4, 3),
    )
    assert read(packed, log=True)[1] == Read(8, 6)


@pytest.mark.parametrize("cut", [1, 10, 40])
def test_damaged_gzip(tmp_path: Path, cut: int) -> None:
    """A packed file that is not complete is an error that names it."""
    path = tmp_path / "x.gz"
    whole = gzip.compress(b"".join(LOG.format(f"u@d{n}.test").encode() for n in range(50)))
    path.write_bytes(whole[:-cut])
    with pytest.raises(CommandError, match=r"x.gz: the gzip file is damaged or incomplete"):
        read(path, log=True)


def test_missing_file(tmp_path: Path) -> None:
    """A file that cannot be read is a usage error that names it."""
    for name, reason in (("none", "No such file"), (".", "Is a directory")):
        with pytest.raises(CommandError, match=reason) as error:
            read(tmp_path / name)
        assert error.value.exit_code == 64


def test_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller hears of progress now and then, also while nothing is found."""
    monkeypatch.setattr("postfix_mta_sts.cli.trial.inputs.TICK", 10)
    path, calls = tmp_path / "x", list[None]()
    path.write_text("\n" * 35)
    for function in (read_list, read_mail_log):
        function(str(path), lambda _: None, lambda: calls.append(None))
    assert len(calls) == 6


def test_memory(tmp_path: Path) -> None:
    """A packed file of zeros, and one without line ends, take no more memory than a small one."""
    path = tmp_path / "zeros.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(64):
            file.write(bytes(2**20))
    tracemalloc.start()
    try:
        assert read(path, log=True)[1] == Read(1, 0)
        assert read(path)[1].bad == 1
        assert tracemalloc.get_traced_memory()[1] < 16 * CHUNK
    finally:
        tracemalloc.stop()


class _Slow(io.BytesIO):
    """Returns a few bytes for each read."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        super().__init__(data)
        self._sizes = sizes or [1]
        self._reads = 0

    def read(self, _size: int | None = -1, /) -> bytes:
        """Return the next bytes; the size is not followed."""
        self._reads += 1
        return super().read(self._sizes[self._reads % len(self._sizes)])


@given(st.binary(max_size=200), st.lists(st.integers(1, 20), max_size=5), st.integers(0, 20))
def test_any_split(data: bytes, sizes: list[int], limit: int) -> None:
    """However a file is read, its lines are the same; one above the limit is None."""
    stream = _Slow(data, sizes)
    expected = data.split(b"\n")
    if expected[-1] == b"":
        expected.pop()
    if data.startswith(b"\xef"):
        return
    shown = list(lines(stream, limit))  # type: ignore[arg-type] # it reads, too
    assert shown == [each if len(each) <= limit else None for each in expected]


@given(st.binary(max_size=100))
def test_any_line(data: bytes) -> None:
    """A line is a valid domain, nothing, or an error in printable text."""
    try:
        domain = listed_domain(data)
    except InvalidDomainError as error:
        assert str(error).isascii()
        assert str(error).isprintable()
    else:
        assert domain is None or (parse_domain(domain) == domain and "." in domain)


def test_too_long_a_line() -> None:
    """A line that was too long to be read is an error."""
    with pytest.raises(InvalidDomainError, match=str(LIST_LINE_LIMIT)):
        listed_domain(None)


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """`-` is standard input, which stays open."""
    stdin = io.TextIOWrapper(io.BufferedReader(io.BytesIO(b"a.test\n")))
    monkeypatch.setattr("sys.stdin", stdin)
    with opened("-") as stream:
        assert list(lines(stream, 10)) == [b"a.test"]
    assert not stdin.buffer.closed
