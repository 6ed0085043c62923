"""The file of results of a scan."""

import os
import resource
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.admin.findings import Finding
from postfix_mta_sts.cli.parser import CommandError
from postfix_mta_sts.cli.trial.results import HEADER, open_results
from postfix_mta_sts.values import to_json
from tests.cli.trial.findings import finding, held

A, B = held("a.test"), finding("b.test")


def line(each: Finding) -> bytes:
    """Its line in the file."""
    return to_json(each).encode() + b"\n"


def write(path: Path, *findings: Finding) -> list[Finding]:
    """Append to a file as a scan does; return what was in it."""
    with open_results(str(path)) as results:
        before = list(results.read())
        for each in findings:
            results.append(each)
    return before


def test_goes_on(tmp_path: Path) -> None:
    """What a scan has written is read by the next one; only its owner can read the file."""
    path = tmp_path / "results"
    assert not write(path, A)
    assert write(path, B) == [A]
    assert write(path) == [A, B]
    assert path.read_bytes() == HEADER + line(A) + line(B)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_at_once(tmp_path: Path) -> None:
    """A result is in the file when `append` returns."""
    path = tmp_path / "results"
    with open_results(str(path)) as results:
        assert not list(results.read())
        results.append(A)
        assert path.read_bytes() == HEADER + line(A)


@given(st.integers(0, len(HEADER + line(A) + line(B))))
def test_any_cut(tmp_path_factory: pytest.TempPathFactory, length: int) -> None:
    """A file that was cut anywhere loses at most one result, and is whole again."""
    path = tmp_path_factory.mktemp("cut") / "results"
    path.write_bytes((HEADER + line(A) + line(B))[:length])
    kept = write(path, B)
    assert kept == [A, B][: len(kept)]
    assert path.read_bytes() == HEADER + b"".join(map(line, [*kept, B]))


@pytest.mark.parametrize(
    "text",
    [b"", b"{}\n", b"\xff\xfe\n", b'{"domain":"a.test","outcome":"lost"}\n', b"\0" * 100 + b"\n"],
)
def test_damaged_line(tmp_path: Path, text: bytes) -> None:
    """It is left out, so that its domain is looked at again."""
    path = tmp_path / "results"
    path.write_bytes(HEADER + line(A) + text + line(B))
    assert write(path) == [A, B]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"root:x:0:0\n", "not a file of results"),
        (HEADER[:10] + b"x", "not a file of results"),
        (HEADER.replace(b"1}", b"2}"), "not a file of results"),
        (HEADER + b"x" * 70_000, "a line of more than"),
    ],
)
def test_another_file(tmp_path: Path, text: bytes, reason: str) -> None:
    """A file that no scan has written is an error, and stays as it is."""
    path = tmp_path / "results"
    path.write_bytes(text)
    with pytest.raises(CommandError, match=reason) as error:
        write(path)
    assert error.value.exit_code == 64
    assert path.read_bytes() == text


def test_two_scans(tmp_path: Path) -> None:
    """A second scan cannot write to the same file."""
    path = tmp_path / "results"
    with open_results(str(path)), pytest.raises(CommandError, match="another scan"):
        write(path)


def test_cannot_be_opened(tmp_path: Path) -> None:
    """The error names the file."""
    with pytest.raises(CommandError, match="none/results: No such file"):
        write(tmp_path / "none" / "results")
    with pytest.raises(CommandError, match="Is a directory"):
        write(tmp_path)


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null"])
def test_device(path: str) -> None:
    """A device, or a pipe, cannot be gone on with."""
    with pytest.raises(CommandError, match=f"{path}: not a regular file"):
        write(Path(path))


def test_pipe(tmp_path: Path) -> None:
    """A pipe that nobody writes to does not hold the command up."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CommandError, match="pipe: not a regular file"):
        write(tmp_path / "pipe")


def test_full_disk(tmp_path: Path) -> None:
    """A result that cannot be written ends the scan, and does no harm to those before it."""
    path = tmp_path / "results"
    write(path, A)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, hard))
        with pytest.raises(CommandError, match="results: File too large"):
            write(path, B)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert write(path) == [A]
