"""`fleet …` without a store that answers; tests/fleet has real ones."""

import argparse
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from postfix_mta_sts.cli.fleet.check import check, exit_code, text
from postfix_mta_sts.cli.fleet.purge import purge
from postfix_mta_sts.cli.fleet.setup import fleet_settings
from postfix_mta_sts.cli.parser import CommandError
from postfix_mta_sts.store.fleet.checkup import Checkup
from postfix_mta_sts.store.fleet.engine import DOCUMENT, Finding, Kind, Name
from postfix_mta_sts.values import replace
from tests.support.commands import Commands
from tests.support.fleet_engine import MemoryDatabase
from tests.support.terminals import on_terminal

WELL = Finding("lease", is_well=True, found="taken")
BAD = Finding("clock", is_well=False, found="3600.0 s behind", mend="NTP")


@pytest.fixture
def port() -> Iterator[int]:
    """A port at which nothing listens, and nothing begins to."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture
def config(tmp_path: Path, port: int) -> Path:
    """A configuration with a store that is not there."""
    key, path = tmp_path / "key", tmp_path / "c.yml"
    key.touch(0o600)
    key.write_text(f"{'ab' * 32}\n")
    url = f"redis://mta_sts:very-secret@127.0.0.1:{port}/0"
    path.write_text(json.dumps({"fleet": {"url": url, "name": "mx1", "key_file": str(key)}}))
    return path


@pytest.mark.parametrize(
    ("findings", "is_usable", "code"),
    [((WELL,), True, 0), ((WELL, BAD), True, 1), ((BAD,), False, 2), ((WELL,), False, 2)],
)
def test_exit_code(findings: tuple[Finding, ...], *, is_usable: bool, code: int) -> None:
    """0: all is well; 1: there is something to mend; 2: the store cannot be used."""
    assert exit_code(Checkup(findings, is_usable)) == code


def test_check(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A store that is not there: one line says so, one what to do, and no password is shown."""
    done = Commands(capsys).run("fleet", "check", "--config", config)
    assert done.code == 2
    first, _, keys, connection, mend, _, verdict, _, heading, last = done.lines
    assert first.startswith("relay mx1 at redis://mta_sts:...@127.0.0.1:")
    assert keys.startswith("keys        well: ")
    assert connection.startswith("connection  NOT WELL: ")
    assert mend.split()[:2] == ["to", "mend:"]
    assert verdict.startswith("This relay cannot use the store")
    assert (heading, last) == ("To mend:", f"- connection: {mend.strip()[len('to mend: ') :]}")
    assert "very-secret" not in done.out + done.err


def test_check_for_programs(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` has each finding, and the exit code."""
    done = Commands(capsys).run("fleet", "check", "--json", "--config", config)
    found = json.loads(done.out)
    assert (found["name"], found["prefix"], found["exit_code"]) == ("mx1", "mta_sts", done.code)
    assert [each["is_well"] for each in found["findings"]] == [True, False]
    assert "very-secret" not in done.out


def test_purge(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If the store does not answer, nothing is removed, and the error is one line."""
    done = Commands(capsys).run("fleet", "purge", "example.com", "--config", config)
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1
    assert "fleet check has more" in done.err
    assert "very-secret" not in done.err


@pytest.mark.parametrize("words", [("check",), ("purge", "example.com")])
def test_no_fleet(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without `fleet.url` the commands say what to do."""
    path = tmp_path / "c.yml"
    path.write_text("log: {level: info}\n")
    done = Commands(capsys).run("fleet", *words, "--config", path)
    assert done.code == 2
    assert "fleet.url is not set" in done.err


def arguments(config: Path, **others: object) -> argparse.Namespace:
    """Arguments as the command line gives them."""
    return argparse.Namespace(config=config, json=False, **others)


def test_all_is_well(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a store that works, each line and the last sentence say so."""
    assert check(arguments(config), MemoryDatabase(round(1e6 * time.time())).open) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(" well: " in line for line in lines[2:-2])
    assert lines[-1] == "All is well."


def test_something_to_mend(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The store can be used, and its clock is not that of this machine: that is the last line."""
    assert check(arguments(config), MemoryDatabase().open) == 1
    *_, verdict, _, heading, last = capsys.readouterr().out.splitlines()
    assert verdict == "This relay can use the store, and not all is well."
    assert (heading, last[:9]) == ("To mend:", "- clock: ")


def test_one_cause_with_several_effects(config: Path) -> None:
    """What mends both is said once in the end, and nothing if nobody knows what does."""
    settings = fleet_settings(arguments(config))
    effect, unknown = replace(BAD, what="lease"), replace(BAD, what="latency", mend="")
    lines = text(settings, Checkup((BAD, effect, unknown, WELL), is_usable=True)).splitlines()
    assert lines[-2:] == ["To mend:", "- clock: NTP"]
    assert text(settings, Checkup((unknown,), is_usable=True)).endswith("not all is well.")


def test_width(config: Path) -> None:
    """On a terminal of 80 columns, what is to be mended is read without a broken word."""
    with on_terminal("fleet", "check", "--config", config) as terminal:
        assert terminal.end() == 2
    mend = terminal.screen[terminal.screen.index("To mend:") + 1 :]
    assert len([line for line in mend if line.startswith("- connection: ")]) == 1
    assert [line for line in mend if line.strip() and line[:2] not in {"- ", "  "}] == []


def test_purged(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All that there is of the domain is removed and named, and nothing of others."""
    database = MemoryDatabase()
    names = [Name(kind, "example.com") for kind in (Kind.POLICY, Kind.HISTORY, Kind.CHECK)]
    other = Name(Kind.POLICY, "other.example")
    for name in (*names, other):
        database.damage(name, b"anything")
    for code, said in ((0, "policy, history, last check"), (1, "has nothing of it")):
        assert (
            purge(arguments(config, domain="example.com", exceptions=False), database.open) == code
        )
        assert said in capsys.readouterr().out
    assert [*database.entries] == [other]
    assert database.connections == 0


def test_purged_exceptions(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The document of exceptions is removed, whatever it is, and nothing else."""
    database = MemoryDatabase()
    for name in (DOCUMENT, Name(Kind.POLICY, "all")):
        database.damage(name, b"anything")
    for code, said in ((0, "removed from the shared store"), (1, "has nothing of it")):
        args = arguments(config, domain=None, exceptions=True)
        assert purge(args, database.open) == code
        out = capsys.readouterr().out
        assert out.startswith("exceptions: ")
        assert said in out
        assert "gives them to the store again" in out
    assert [*database.entries] == [Name(Kind.POLICY, "all")]


@pytest.mark.parametrize("words", [(), ("example.com", "--exceptions")])
def test_purge_of_one_thing(
    config: Path, capsys: pytest.CaptureFixture[str], words: Sequence[str]
) -> None:
    """A domain or `--exceptions` must be given, and not both."""
    done = Commands(capsys).run("fleet", "purge", *words, "--config", config)
    assert (done.code, "--exceptions" in done.err) == (2, True)


def test_purge_with_an_unexpected_error(config: Path) -> None:
    """What a library raises that nobody expects is an error of the command, and no traceback."""
    database = MemoryDatabase()
    database.unexpected = BufferError("very-secret")
    with pytest.raises(CommandError, match=r"unexpected BufferError in .*; fleet check has more"):
        purge(arguments(config, domain="example.com", exceptions=False), database.open)


def test_no_domain(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is not a domain is refused, with a guess."""
    done = Commands(capsys).run("fleet", "purge", "jo@example.com", "--config", config)
    assert (done.code, "write example.com" in done.err) == (2, True)


def test_imports(config: Path) -> None:
    """Neither the arguments of `fleet` nor `status` import what talks to a store."""
    program = (
        "import sys; from postfix_mta_sts.cli.main import main;"
        f"main(['status', '--fleet', '--config', {str(config)!r}]);"
        "import postfix_mta_sts.cli.fleet.commands;"
        "print([m for m in ('redis', 'asyncpg', 'asyncio') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
