"""`fleet schema`: the SQL for the owner of a PostgreSQL database."""

from pathlib import Path

import pytest

from tests.support.commands import Commands


def config(folder: Path, text: str) -> Path:
    """A configuration with this text."""
    (path := folder / "c.yml").write_text(text)
    return path


def test_before_there_is_a_fleet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The tables can be made before the configuration names the store, as one transaction."""
    path = config(tmp_path, "fleet: {prefix: second}\n")
    done = Commands(capsys).run("fleet", "schema", "--role", "relays-2", "--config", path)
    assert (done.code, done.err) == (0, "")
    assert 'CREATE SCHEMA IF NOT EXISTS "second";' in done.lines
    assert 'GRANT USAGE ON SCHEMA "second" TO "relays-2";' in done.lines
    assert (done.lines.count("BEGIN;"), done.lines[-1]) == (1, "COMMIT;")


def test_without_a_role(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a role nothing is granted."""
    path = config(tmp_path, "fleet: {}\n")
    done = Commands(capsys).run("fleet", "schema", "--config", path)
    assert (done.code, "GRANT" in done.out) == (0, False)


@pytest.mark.parametrize("role", ["", 'x"; DROP TABLE records; --', "a" * 64, "Öl", "x\ny"])
def test_no_role(role: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What can hardly be a role is refused, and no SQL is printed."""
    path = config(tmp_path, "fleet: {}\n")
    done = Commands(capsys).run("fleet", "schema", f"--role={role}", "--config", path)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("postfix-mta-sts: --role: ")
    assert done.err.count("\n") == 1


def test_redis(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A Redis needs no tables, which is said without its password."""
    url = "redis://u:very-secret@127.0.0.1/0"
    path = config(tmp_path, f"fleet: {{url: '{url}', unsigned: true}}\n")
    done = Commands(capsys).run("fleet", "schema", "--config", path)
    assert (done.code, done.out) == (2, "")
    assert "needs no tables" in done.err
    assert "very-secret" not in done.err
