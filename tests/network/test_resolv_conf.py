"""What is read from resolv.conf, and when it is believed."""

from pathlib import Path

import pytest

from postfix_mta_sts.network.resolv_conf import ResolvConf, ResolvConfFile, parse
from tests.support.resolv_conf import MEANINGS, ODD

A, B, NONE = ResolvConf(("192.0.2.1",)), ResolvConf(("192.0.2.2",)), ResolvConf()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with the server A."""
    path = tmp_path / "resolv.conf"
    path.write_text("nameserver 192.0.2.1\n")
    return path


def refuse(*_: object) -> None:
    """Fail as a file does that may not be read."""
    raise PermissionError


@pytest.mark.parametrize("text", MEANINGS | ODD, ids=repr)
def test_meanings(text: str, path: Path) -> None:
    """Servers and options are what glibc finds in the text, and what it ignores is ignored."""
    path.write_bytes(text.encode(errors="surrogateescape"))
    expected = (MEANINGS | ODD)[text]
    assert (ResolvConfFile(path).read(), parse(text)) == (expected, expected)


class TestChanges:
    """A file that changes."""

    def test_other_servers(self, path: Path) -> None:
        """Other servers are believed at once."""
        file = ResolvConfFile(path)
        path.write_text("nameserver 192.0.2.2\n")
        assert file.read() == B

    @pytest.mark.parametrize("text", ["", "# being written\n", None], ids=repr)
    def test_no_servers(self, path: Path, text: str | None) -> None:
        """A file without servers may be half written: it is believed the second time."""
        file = ResolvConfFile(path)
        path.unlink() if text is None else path.write_text(text)
        assert [file.read() for _ in range(3)] == [A, NONE, NONE]

    def test_half_written(self, path: Path) -> None:
        """A file that has servers again is believed at once, and an empty one is doubted again."""
        file = ResolvConfFile(path)
        for _ in range(2):
            path.write_text("")
            assert file.read() == A
            path.write_text("nameserver 192.0.2.1\n")
            assert file.read() == A

    def test_a_file_that_may_not_be_read(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its servers stay in use: the sandbox hides a file that was replaced."""
        file = ResolvConfFile(path)
        monkeypatch.setattr(Path, "open", refuse)
        assert [file.read() for _ in range(3)] == [A, A, A]
        assert ResolvConfFile(path).read() == NONE

    def test_a_folder(self, tmp_path: Path) -> None:
        """What cannot be read names no server."""
        assert ResolvConfFile(tmp_path).read() == NONE

    def test_a_huge_file(self, path: Path) -> None:
        """A bounded part of a huge file is read."""
        path.write_text("nameserver 192.0.2.1\n" + "#\n" * 100_000 + "options use-vc\n")
        assert ResolvConfFile(path).read() == A
